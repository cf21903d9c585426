/**
 * Stands for your own web server in the examples: it serves a page, the client library, and a token to whoever asks.
 *
 * Everybody is who they say they are here (`?user=ada`). Your server takes the user from its session instead.
 */
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const port = 3000;
/** The key that the gateway knows as GATEWAY_JWT_SECRET_FILE. */
const secret = readFileSync('secret', 'utf8').trim();
const tokenSeconds = 900;

/**
 * `page`: a URL of an HTML file. `roomsOf(user)`: what the user may do in which rooms. `actions`: what the page can ask for,
 * by method and path; each gets the user, and its result is the answer.
 */
export function serve(page, roomsOf, actions = {}) {
  const files = {
    '/': [page, 'text/html'],
    '/style.css': [new URL('style.css', import.meta.url), 'text/css'],
    '/client.js': [new URL(import.meta.resolve('roomcast/client.js')), 'text/javascript'],
  };
  const server = createServer(async ({ method, url }, response) => {
    const { pathname, searchParams } = new URL(url, 'http://site');
    const user = searchParams.get('user') ?? 'guest';
    const answer = (status, type, body) =>
      response.writeHead(status, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store' }).end(body);
    try {
      const [file, type] = files[pathname] ?? [];
      const action = actions[`${method} ${pathname}`];
      // The user becomes a part of room names and of patterns, so it must not hold a `*`.
      if (!/^[\w-]{1,40}$/.test(user)) answer(400, 'text/plain', 'A user has letters, digits, _ and -, at most 40.');
      else if (file !== undefined) answer(200, type, readFileSync(file));
      else if (pathname === '/token') answer(200, 'text/plain', tokenOf(user, roomsOf(user)));
      else if (action !== undefined) answer(200, 'application/json', JSON.stringify(await action(user)));
      else answer(404, 'text/plain', 'Not found.');
    } catch (error) {
      process.stderr.write(`${error.stack}\n`);
      answer(500, 'text/plain', 'The terminal of the server says why.');
    }
  });
  server.listen(port, '127.0.0.1', () => process.stdout.write(`Open http://127.0.0.1:${port}/\n`));
}

/** A JWT (RFC 7519) with HS256. A library such as jose does the same. */
function tokenOf(user, rooms) {
  const exp = Math.floor(Date.now() / 1000) + tokenSeconds;
  const encoded = [{ alg: 'HS256' }, { sub: user, rooms, exp }].map((part) =>
    Buffer.from(JSON.stringify(part)).toString('base64url'),
  );
  const signed = encoded.join('.');
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}
