/**
 * gateway/auth/callback: a backend that allows, denies, or does anything else; what is asked at once, and what is remembered.
 */
import { createServer as createTcpServer } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { expect, test, vi } from 'vitest';
import { Callback, type Question, type Verdict } from '../../../gateway/auth/callback/callback.ts';
import { Exchange } from '../../../gateway/auth/callback/exchange.ts';
import { readSecrets } from '../../../gateway/auth/signature.ts';
import { type Answer, allow, Backend, deny, json } from '../../support/backend.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { freePort } from '../../support/free-port.ts';
import { until } from '../../support/until.ts';

const question: Question = {
  ...{ action: 'subscribe', user: 'ann', room: 'doc:1', connection: 'n-1-1', address: '192.0.2.1' },
};
const of = (number: number): Question => ({ ...question, user: `user ${number}` });

function callbackTo(exchange: Pick<Exchange, 'ask' | 'close' | 'origin'>) {
  const results: string[] = [];
  const { log, lines } = capturedLog();
  const events = { callbackAnswered: (action: string, result: string) => void results.push(`${action} ${result}`) };
  const callback = new Callback(exchange as Exchange, { events, log });
  onCleanup(() => callback.close());
  return { callback, results, lines };
}

/** Long enough that a busy machine makes no answer late. */
const patientMs = 15_000;

async function asking(answer: Answer = allow, secret?: string, timeoutMs = patientMs) {
  const backend = await Backend.start(answer);
  const exchange = new Exchange(backend.url, secret === undefined ? [] : readSecrets(secret), { timeoutMs });
  return { backend, ...callbackTo(exchange) };
}

test('an answer allows or denies; without ttlSeconds it is asked again each time', async () => {
  const { backend, callback, results } = await asking();
  const allowed = { until: Number.POSITIVE_INFINITY, info: undefined };
  expect(await callback.ask(question)).toEqual(allowed);
  backend.answer = deny;
  expect(await callback.ask(question)).toBe('denied');
  backend.answer = json({ allow: true, ttlSeconds: null, info: { name: 'Ann', β: [1] }, more: 'ignored' });
  expect(await callback.ask(question)).toEqual({ ...allowed, info: '{"name":"Ann","β":[1]}' });
  expect(backend.asked).toEqual([question, question, question]);
  expect(results).toEqual(['subscribe allowed', 'subscribe denied', 'subscribe allowed']);
});

const text =
  (body: string, type = 'application/json', status = 200): Answer =>
  (response) =>
    void response.writeHead(status, type === '' ? {} : { 'content-type': type }).end(body);
const good = '{"allow": true}';

test.each<[string, Answer, RegExp]>([
  ['500', text(good, 'application/json', 500), /HTTP 500/],
  ['403, which is no denial', text(good, 'application/json', 403), /HTTP 403; answer 200 with .*"allow": false/],
  ['204', (response) => void response.writeHead(204).end(), /HTTP 204/],
  ['garbage', text('<html>'), /not JSON/],
  ['an empty body', text(''), /not JSON/],
  ['no object', text('[true]'), /not valid/],
  ['allow as text', text('{"allow": "true"}'), /not valid: allow/],
  ['no allow', text('{}'), /not valid: allow/],
  ['allow only in __proto__', text('{"__proto__": {"allow": true}}'), /not valid: allow/],
  ['a negative ttlSeconds', text('{"allow": true, "ttlSeconds": -1}'), /not valid: ttlSeconds/],
  ['ttlSeconds as text', text('{"allow": true, "ttlSeconds": "60"}'), /not valid: ttlSeconds/],
  ['an info of 513 bytes', json({ allow: true, info: 'x'.repeat(511) }), /info: is larger than 512 bytes/],
  ['a very deep info', text(`{"allow": true, "info": ${'['.repeat(8_000)}${']'.repeat(8_000)}}`), /./],
  ['another content type', text(good, 'text/plain'), /content type "text\/plain"; send application\/json/],
  ['no content type', text(good, ''), /content type ""/],
  ['a huge answer', text(`${' '.repeat(5_000_000)}${good}`), /more than 16384 bytes/],
  [
    'half an answer',
    (response) =>
      void response
        .writeHead(200, { 'content-type': 'application/json', 'content-length': 99 })
        .write('{', () => response.destroy()),
    /aborted|hang up|ECONNRESET/,
  ],
  ['a cut', (response) => void response.destroy(), /hang up/],
])('a backend that answers with %s allows nothing, and the log says why', async (_, answer, why) => {
  const { callback, results, lines } = await asking(answer);
  expect(await callback.ask(question)).toBe('unanswered');
  expect(results).toEqual(['subscribe error']);
  const { error, backend } = JSON.parse(lines[0] ?? '');
  expect(error).toMatch(why);
  expect(backend).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
});

test('a redirect is not followed', async () => {
  const elsewhere = await Backend.start();
  const { callback, lines } = await asking((response) => {
    response.writeHead(307, { location: elsewhere.url, 'content-type': 'application/json' }).end(good);
  });
  expect(await callback.ask(question)).toBe('unanswered');
  expect(lines[0]).toContain('not followed');
  expect(elsewhere.asked).toEqual([]);
});

test('a backend that hangs, trickles or takes no connection is given up after 2 s; one that is not there, at once', async () => {
  const trickle: Answer = (response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const timer = setInterval(() => response.write(' '), 50);
    response.on('close', () => clearInterval(timer));
  };
  // Its queue of connections is full: SYN packets get no answer, or the first byte never comes.
  const silent = createTcpServer().listen(0, '127.0.0.1');
  onCleanup(() => silent.close());
  await until(() => silent.listening, 2_000, 'it listens');
  const mute = callbackTo(new Exchange(`http://127.0.0.1:${(silent.address() as { port: number }).port}/`, []));
  const absent = callbackTo(new Exchange(`http://127.0.0.1:${await freePort()}/`, []));
  expect(await absent.callback.ask(question)).toBe('unanswered');
  expect(absent.results).toEqual(['subscribe error']);
  expect(absent.lines[0]).toContain('ECONNREFUSED');
  const startedAt = performance.now();
  const slow = [await asking(() => undefined, undefined, 2_000), await asking(trickle, undefined, 2_000), mute];
  const verdicts = await Promise.all(slow.map(({ callback }) => callback.ask(question)));
  expect(verdicts).toEqual(['unanswered', 'unanswered', 'unanswered']);
  expect(performance.now() - startedAt).toBeGreaterThan(1_950);
  expect(slow.flatMap(({ results }) => results)).toEqual(Array(3).fill('subscribe timeout'));
  expect(slow[0]?.lines[0]).toContain('no whole answer within 2000 ms');
});

test('one question is under way for the same thing, and all who ask get its answer', async () => {
  const { backend, callback } = await asking();
  backend.hold();
  const same = Array.from({ length: 50 }, () => callback.ask({ ...question, connection: 'n-1-2', address: '::1' }));
  const others = [
    callback.ask({ ...question, user: 'bob' }),
    callback.ask({ ...question, room: 'doc:2' }),
    callback.ask({ ...question, action: 'publish' }),
  ];
  await until(() => backend.held === 4, 5_000, 'four questions');
  for (let each = 0; each < 4; each++) await backend.release();
  expect(new Set(await Promise.all(same)).size).toBe(1);
  await Promise.all(others);
  expect(backend.asked).toHaveLength(4);
});

test('clients without a name share neither a question nor an answer', async () => {
  const { backend, callback } = await asking(json({ allow: true, ttlSeconds: 60 }));
  const nobody = { ...question, user: null };
  const posted = { ...nobody, connection: null };
  for (const each of [nobody, { ...nobody, connection: 'n-1-2' }, { ...question, user: 'anonymous n-1-1' }, posted]) {
    await callback.ask(each);
    await callback.ask(each);
  }
  expect(backend.asked).toHaveLength(4);
});

test('256 questions are under way at most; one more is refused, and its place is free again after an answer', async () => {
  const { backend, callback, results } = await asking();
  backend.hold();
  const asked = Array.from({ length: 256 }, (_, number) => callback.ask(of(number)));
  expect(await callback.ask(of(256))).toBe('unanswered');
  expect(results).toEqual(['subscribe overload']);
  // The same thing as one that is under way takes no place.
  expect(callback.ask(of(0))).toBe(asked[0]);
  await until(() => backend.held === 256, 5_000, '256 questions');
  for (let each = 0; each < 256; each++) await backend.release();
  for (const verdict of await Promise.all(asked)) expect(verdict).toMatchObject({ info: undefined });
  const again = callback.ask(of(256));
  await backend.release();
  expect(await again).toMatchObject({ info: undefined });
});

test('an answer with ttlSeconds is remembered so long, 300 s at most, a denial too', async () => {
  const { backend, callback } = await asking(json({ allow: true, ttlSeconds: 10, info: 1 }));
  let skippedMs = 0;
  const now = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => now() + skippedMs);
  onCleanup(() => vi.restoreAllMocks());
  const first = (await callback.ask(question)) as Exclude<Verdict, string>;
  expect(first.until - now()).toBeGreaterThan(9_000);
  skippedMs = 9_000;
  // At once, and without a promise.
  expect(callback.ask(question)).toBe(first);
  skippedMs = 10_001;
  backend.answer = json({ allow: false, ttlSeconds: 86_400 });
  expect(await callback.ask(question)).toBe('denied');
  skippedMs += 295_000;
  expect(callback.ask(question)).toBe('denied');
  skippedMs += 5_001;
  backend.answer = json({ allow: true, ttlSeconds: 0 });
  await callback.ask(question);
  await callback.ask(question);
  expect(backend.asked).toHaveLength(4);
});

test('of 30,000 answers the last 10,000 at least are remembered, and 20,000 at most', async () => {
  let asked = 0;
  const ask = async () => {
    asked++;
    return '{"allow": true, "ttlSeconds": 300}';
  };
  const { callback } = callbackTo({ ask, close: () => undefined, origin: '' });
  for (let number = 0; number < 30_000; number++) await callback.ask(of(number));
  for (let number = 20_000; number < 30_000; number++) expect(callback.ask(of(number))).not.toBeInstanceOf(Promise);
  expect(asked).toBe(30_000);
  for (let number = 0; number < 10_000; number++) await callback.ask(of(number));
  expect(asked).toBe(40_000);
});

test('whatever is in the names comes to the backend as it is, and is one thing', async () => {
  const { backend, callback } = await asking(json({ allow: true, ttlSeconds: 60 }));
  const users = [
    '","action":"connect',
    '{"allow":true}',
    '\u2028\u0000\r\n\\"',
    '𝕏'.repeat(50),
    'x user ann',
    '__proto__',
  ];
  const rooms = ['a/b?c', 'doc:1', '%22', 'constructor'];
  const all = users.flatMap((user) => rooms.map((room) => ({ ...question, user, room })));
  for (const each of all) await callback.ask(each);
  expect(backend.asked).toEqual(all);
});

test('connections are kept for the next question; one that the backend has closed meanwhile costs nobody an answer', async () => {
  const { backend, callback, results } = await asking();
  for (let number = 0; number < 5; number++) await callback.ask(of(number));
  expect(backend.sockets).toHaveLength(1);
  // It ends when the next question is on its way.
  backend.answer = (response) => {
    backend.answer = allow;
    response.destroy();
  };
  expect(await callback.ask(question)).toMatchObject({ info: undefined });
  expect(backend.sockets).toHaveLength(2);
  expect(new Set(results)).toEqual(new Set(['subscribe allowed']));
  // A backend that always does so is given up.
  backend.answer = (response) => response.destroy();
  expect(await callback.ask(question)).toBe('unanswered');
});

test('with a secret each question is signed as Standard Webhooks says; without one it is not', async () => {
  const [secret = '', former] = [7, 8].map((byte) => `whsec_${Buffer.alloc(32, byte).toString('base64')}`);
  const heads: Record<string, unknown>[] = [];
  const verified: unknown[] = [];
  const answer: Answer = (response, asked, { headers }, body) => {
    heads.push(headers);
    if (headers['webhook-id'] !== undefined)
      verified.push(new Webhook(secret).verify(body, headers as Record<string, string>));
    allow(response, asked, undefined as never, body);
  };
  const signed = await asking(answer, `${former},${secret}`);
  await signed.callback.ask(question);
  await signed.callback.ask(of(1));
  const unsigned = await asking(answer);
  await unsigned.callback.ask(question);
  expect(verified).toEqual([question, of(1)]);
  expect(new Set(heads.map((each) => each['webhook-id'])).size).toBe(3);
  expect(heads[0]).toMatchObject({ 'content-type': 'application/json', accept: 'application/json' });
  expect(Object.keys(heads[2] ?? {}).filter((name) => name.startsWith('webhook-'))).toEqual([]);
});

test('user and password of the URL are sent as basic authentication, and are not in the log', async () => {
  let authorization: string | undefined;
  const backend = await Backend.start((response, _asked, { headers }) => {
    authorization = headers.authorization;
    response.writeHead(500).end();
  });
  const { callback, lines } = callbackTo(new Exchange(backend.url.replace('//', '//gate:p%3Aw@'), []));
  await callback.ask(question);
  expect(Buffer.from(authorization?.slice('Basic '.length) ?? '', 'base64').toString()).toBe('gate:p:w');
  expect(lines.join()).not.toContain('p%3Aw');
});

test.each([
  ['whsec_', 'an empty key'],
  [`whsec_${Buffer.alloc(23).toString('base64')}`, '23 bytes'],
  [`whsec_${Buffer.alloc(65).toString('base64')}`, '65 bytes'],
  ['whsec_this is not base64, however long it may be', 'no base64'],
  ['a-secret-for-tests-of-more-than-32-bytes', 'base64url'],
])('the secret %s is refused: %s', (secret) => {
  expect(() => readSecrets(secret)).toThrow(/must be whsec_ and the base64 of 24 to 64 bytes; try: /);
});

test('a callback that is closed answers nothing more', async () => {
  const { backend, callback, results } = await asking();
  backend.hold();
  const asked = callback.ask(question);
  await until(() => backend.held === 1, 5_000, 'the question');
  callback.close();
  expect(await asked).toBe('unanswered');
  expect(results).toEqual(['subscribe error']);
});
