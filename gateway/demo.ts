/**
 * The demo: in development without a key, a page and a token to try Roomcast with. In production none of this exists.
 *
 * The secret is made for this run, so the tokens signed here end with it. They reach only the rooms `demo:*`. Whoever reaches
 * the port gets one: that is 127.0.0.1 in development, unless GATEWAY_HOST says otherwise. Owns the paths `/`, `/client.js`
 * and `/demo/*` and the headers of what is there; the files are in pages/demo/. It knows no connections.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { signToken } from './auth/authenticator.ts';
import type { HandshakeRequest } from './http/handshake.ts';
import { isSameOrigin } from './http/origin.ts';
import { type Answer, type Headers, textAnswer } from './http/response.ts';
import type { RoomRule } from './rooms/access.ts';

const demoRooms = 'demo:*';
const typingRooms = 'demo:typing:*';
const inDemo = { subscribe: 'token', publish: 'token' } as const;

/** Come after the operator's rules. */
export const demoRules: RoomRule[] = [
  { ...inDemo, match: typingRooms, slow: 'latest', history: undefined, presence: false, joinLeave: false },
  {
    ...inDemo,
    match: demoRooms,
    slow: 'catch-up',
    history: { size: 100, maxBytes: 1_048_576, ttlSeconds: 3_600 },
    presence: true,
    joinLeave: true,
  },
];

/** Of the drain that the page can ask for: long enough to watch, short enough to wait for. */
export const rehearsal = { drainNoticeMs: 0, drainMs: 4_500 };

const tokenSeconds = 86_400;
const guest = /^guest-[0-9a-f]{6}$/;

/** By path. Read at each request, so that a change shows when the page is loaded again. */
const files: Record<string, { file: string; type: string }> = {
  '/': { file: './pages/demo/index.html', type: 'text/html' },
  '/demo/demo.css': { file: './pages/demo/demo.css', type: 'text/css' },
  '/demo/talk.css': { file: './pages/demo/talk.css', type: 'text/css' },
  '/demo/line.css': { file: './pages/demo/line.css', type: 'text/css' },
  '/demo/demo.js': { file: './pages/demo/demo.js', type: 'text/javascript' },
  '/demo/room.js': { file: './pages/demo/room.js', type: 'text/javascript' },
  '/demo/line.js': { file: './pages/demo/line.js', type: 'text/javascript' },
  '/demo/inspector.js': { file: './pages/demo/inspector.js', type: 'text/javascript' },
  '/demo/icon.svg': { file: './pages/demo/icon.svg', type: 'image/svg+xml' },
  /** The client library in one file, as `npm run build` makes it. */
  '/client.js': { file: '../client.js', type: 'text/javascript' },
};
const tokenPath = '/demo/token';
const drainPath = '/demo/drain';

const headers: Headers = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

export class Demo {
  /** What it answers. */
  readonly paths: readonly string[] = [...Object.keys(files), tokenPath, drainPath];
  readonly #secret: Uint8Array;
  readonly #drain: () => Promise<void>;
  #draining: Promise<void> | undefined;

  /** `drain`: asks every client to move, as before a stop. The node stays. */
  constructor({ jwtSecret }: { jwtSecret: string | undefined }, drain: () => Promise<void>) {
    this.#secret = new TextEncoder().encode(jwtSecret);
    this.#drain = drain;
  }

  token(user: string): Promise<string> {
    return signToken(this.#secret, { sub: user, rooms: { [demoRooms]: ['subscribe', 'publish'] } }, tokenSeconds);
  }

  /** `path` is one of `paths`. */
  async answer(path: string, request: HandshakeRequest): Promise<Answer> {
    if (path === drainPath) return this.#rehearse(request);
    if (!['GET', 'HEAD'].includes(request.method)) return notAllowed('GET, HEAD');
    const { file, type } = files[path] ?? { type: 'text/plain' };
    const body =
      file === undefined
        ? await this.token(guestOf(request.query))
        : await readFile(new URL(file, import.meta.url), 'utf8');
    return { status: '200 OK', headers: { ...headers, 'content-type': `${type}; charset=utf-8` }, body };
  }

  /** One at a time. Not for pages of another origin, which could send this request too. */
  #rehearse({ method, headers: sent }: HandshakeRequest): Answer {
    if (method !== 'POST') return notAllowed('POST');
    if (!isSameOrigin(sent.get('origin')?.[0] ?? '', sent.get('host')?.[0] ?? '')) {
      return textAnswer('403 Forbidden', 'Only the demo page of this node may ask for this.', headers);
    }
    this.#draining ??= this.#drain().finally(() => {
      this.#draining = undefined;
    });
    return textAnswer('202 Accepted', 'Every client is asked to move within the next seconds.', headers);
  }

  /** A command to paste into a terminal in the project's folder. */
  async example(port: number): Promise<string> {
    const frames = [
      { type: 'subscribe', id: 1, room: 'demo:lobby' },
      { type: 'publish', id: 2, room: 'demo:lobby', data: 'hello' },
    ];
    const script = [
      'import { WebSocket } from "ws";',
      `const socket = new WebSocket("ws://127.0.0.1:${port}/ws", ["roomcast.v1.json", "roomcast.token.${await this.token('demo')}"]);`,
      'socket.on("message", (frame) => console.log(String(frame)));',
      `socket.on("open", () => { ${frames.map((frame) => `socket.send(JSON.stringify(${JSON.stringify(frame)}));`).join(' ')} });`,
    ].join('\n');
    return `node --input-type=module -e '${script}'`;
  }
}

/** Whom a tab asks to be: the guest that it was before it was loaded again, else a new one. */
function guestOf(query: string): string {
  const user = new URLSearchParams(query).get('user') ?? '';
  return guest.test(user) ? user : `guest-${randomBytes(3).toString('hex')}`;
}

function notAllowed(allow: string): Answer {
  return textAnswer('405 Method Not Allowed', `Use ${allow}.`, { ...headers, allow });
}
