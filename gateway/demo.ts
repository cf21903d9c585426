/**
 * The demo: in development without a key, a page and a token to try Roomcast with.
 *
 * The secret is made for this run, so the tokens signed here end with it. They reach only the rooms `demo:*`, which have
 * history and presence.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { signToken } from './auth/authenticator.ts';
import type { Config } from './config.ts';
import type { RoomRule } from './rooms/access.ts';

const demoRooms = 'demo:*';
/** Comes after the operator's rules. */
export const demoRule: RoomRule = {
  match: demoRooms,
  subscribe: 'token',
  publish: 'token',
  slow: 'catch-up',
  history: { size: 100, maxBytes: 1_048_576, ttlSeconds: 3_600 },
  presence: true,
  joinLeave: true,
};
const tokenSeconds = 86_400;

export class Demo {
  readonly #secret: Uint8Array;

  constructor(config: Config) {
    this.#secret = new TextEncoder().encode(config.jwtSecret);
  }

  token(user: string): Promise<string> {
    return signToken(this.#secret, { sub: user, rooms: { [demoRooms]: ['subscribe', 'publish'] } }, tokenSeconds);
  }

  /** The page, with a token for a new user. */
  async page(): Promise<string> {
    const html = await readFile(new URL('./pages/demo.html', import.meta.url), 'utf8');
    return html.replace('{{token}}', await this.token(`guest-${randomBytes(3).toString('hex')}`));
  }

  /** The client library in one file, as `npm run build` makes it. */
  script(): Promise<string> {
    return readFile(new URL('../client.js', import.meta.url), 'utf8');
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
