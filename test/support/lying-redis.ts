/**
 * A proxy before a real Redis that tells lies when it is told to: in place of some replies it sends others. Or it holds back what
 * is no message, on connections that subscribe.
 *
 * Owns the connections, which of the lies is next, and what is held back. It never knows which command a reply belongs to.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onCleanup } from './cleanup.ts';

export interface Lies {
  /** What is sent in place of replies, one after the other, and again from the first one. `''`: the connection is cut. */
  texts: string[];
  /** Replies from one lie to the next. */
  every: number;
}

export class LyingRedis {
  readonly url: string;
  lies: Lies | undefined;
  /** Since the beginning. */
  told = 0;
  #replies = 0;
  /** In the order in which they came. Undefined: nothing is held back. */
  #held: (() => void)[] | undefined;

  private constructor(port: number) {
    this.url = `redis://127.0.0.1:${port}`;
  }

  /** From now on only messages reach connections that subscribe. */
  hold(): void {
    this.#held ??= [];
  }

  /** Lets go of what was held back. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const send of held) send();
  }

  /** `target`: the URL of a Redis without a password. */
  static async start(target: string): Promise<LyingRedis> {
    const { hostname, port } = new URL(target);
    const sockets = new Set<Socket>();
    const server = createServer((client) => {
      const redis = connect(Number(port), hostname);
      for (const [one, other] of [
        [client, redis],
        [redis, client],
      ] as const) {
        sockets.add(one);
        one.on('error', () => one.destroy());
        one.on('close', () => {
          sockets.delete(one);
          other.destroy();
        });
      }
      client.on('data', (bytes) => redis.write(bytes));
      let subscribes = false;
      let rest: Buffer = Buffer.alloc(0);
      redis.on('data', (bytes) => {
        rest = Buffer.concat([rest, bytes]);
        for (let end = endOf(rest, 0); end !== undefined; end = endOf(rest, 0)) {
          const reply = rest.subarray(0, end);
          rest = rest.subarray(end);
          subscribes ||= reply.subarray(0, 1).toString() === '>';
          const isHeld = proxy.#held !== undefined && subscribes && !isMessage(reply);
          if (isHeld) proxy.#held?.push(() => proxy.#answer(client, reply));
          else proxy.#answer(client, reply);
        }
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new LyingRedis((server.address() as AddressInfo).port);
    onCleanup(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return proxy;
  }

  #answer(client: Socket, reply: Buffer): void {
    if (client.destroyed) return;
    const { every, texts } = this.lies ?? { every: 0, texts: [] };
    if (every === 0 || ++this.#replies % every !== 0) {
      client.write(reply);
      return;
    }
    const text = texts[this.told++ % texts.length] ?? '';
    if (text === '') client.destroy();
    else client.write(text, 'latin1');
  }
}

function isMessage(reply: Buffer): boolean {
  return /^>3\r\n\$7\r\nmessage/.test(reply.toString('latin1', 0, 24));
}

/** The end of the value at this place. Undefined: not all of it has come. */
function endOf(bytes: Buffer, at: number): number | undefined {
  const lineEnd = bytes.indexOf('\r\n', at);
  if (lineEnd === -1) return undefined;
  const type = String.fromCharCode(bytes[at] ?? 0);
  const number = Number(bytes.toString('latin1', at + 1, lineEnd));
  let end: number | undefined = lineEnd + 2;
  if (number > 0 && '$='.includes(type)) end += number + 2;
  else if ('*>%'.includes(type)) {
    for (let left = type === '%' ? 2 * number : number; left > 0 && end !== undefined; left--) end = endOf(bytes, end);
  }
  return end === undefined || end > bytes.length ? undefined : end;
}
