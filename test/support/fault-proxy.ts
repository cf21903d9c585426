/**
 * A TCP proxy that breaks the connection between two programs on demand; it needs no root.
 *
 *   pass             bytes flow both ways
 *   blackhole        nothing flows and nothing ends, like a lost route; in `pass` again, the held bytes flow on
 *   reset            every connection is reset, new ones too
 *   swallow replies  requests reach the target, its answers are dropped; such a connection ends with the mode
 *
 * `answerDelayMs` delays every answer, in order, while bytes flow.
 *
 * Owns both sockets of each connection. Does not know what flows through it. TCP bounds its memory, except for delayed
 * answers.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { onCleanup } from './cleanup.ts';

export type FaultMode = 'pass' | 'blackhole' | 'reset' | 'swallow replies';

export interface FaultProxy {
  /** The target's URL, credentials included, with the proxy's address in it. */
  readonly url: string;
  readonly port: number;
  mode: FaultMode;
  /** The target of new connections, by its URL; open ones keep theirs. */
  target: string;
  /** 0 at first. */
  answerDelayMs: number;
  /** Connections open now. */
  readonly connections: number;
  /** Destroys all current connections; the mode decides about new ones. */
  cut(): void;
  close(): Promise<void>;
}

interface Link {
  client: Socket;
  target: Socket;
  /** An answer was dropped: the stream has a hole and must not go on. */
  broken: boolean;
  /** Resolves when the last delayed answer is written. After the first delayed one, all are written in turn. */
  answered: Promise<void> | undefined;
}

/** Starts a proxy in mode `pass` before `target`, for instance `redis://:secret@127.0.0.1:6379`. */
export async function faultProxy(target: string): Promise<FaultProxy> {
  let address = new URL(target);
  const links = new Set<Link>();
  let mode: FaultMode = 'pass';
  let answerDelayMs = 0;

  const destroy = (link: Link) => {
    links.delete(link);
    link.client.destroy();
    link.target.destroy();
  };

  const apply = (link: Link) => {
    if (mode === 'reset') {
      link.client.resetAndDestroy();
      link.target.resetAndDestroy();
    } else if (mode === 'blackhole') {
      link.client.pause();
      link.target.pause();
    } else if (link.broken && mode === 'pass') {
      destroy(link);
    } else {
      link.client.resume();
      link.target.resume();
    }
  };

  /** Never ahead of an earlier answer, whatever its delay was. */
  const writeLate = (link: Link, chunk: Buffer) => {
    const due = delay(answerDelayMs, undefined, { ref: false });
    link.answered = Promise.all([link.answered, due]).then(
      () => void (link.client.writable && link.client.write(chunk)),
    );
  };

  // Like `pipe`, but the mode can also stop the flow and let it go on.
  const relay = (from: Socket, to: Socket, passes: (chunk: Buffer) => boolean) => {
    from.on('data', (chunk: Buffer) => {
      if (!passes(chunk) || to.write(chunk)) return;
      from.pause();
      to.once('drain', () => mode === 'blackhole' || from.resume());
    });
    from.on('end', () => to.end());
  };

  const server = createServer({ noDelay: true }, (client) => {
    const link: Link = {
      client,
      target: connect(Number(address.port), address.hostname),
      broken: false,
      answered: undefined,
    };
    link.target.setNoDelay(true);
    links.add(link);
    relay(client, link.target, () => true);
    relay(link.target, client, (chunk) => {
      link.broken ||= mode === 'swallow replies';
      if (link.broken || (answerDelayMs === 0 && link.answered === undefined)) return !link.broken;
      writeLate(link, chunk);
      return false;
    });
    for (const socket of [client, link.target]) {
      // When one side ends, for any reason, the other side ends too.
      socket.on('error', () => destroy(link));
      socket.on('close', () => destroy(link));
    }
    apply(link);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  const { port } = server.address() as AddressInfo;
  const cut = () => links.forEach(destroy);
  const close = async () => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    cut();
    await closed;
  };
  onCleanup(close);
  const url = new URL(target);
  url.hostname = '127.0.0.1';
  url.port = `${port}`;
  return {
    url: url.href,
    port,
    get mode() {
      return mode;
    },
    set mode(next) {
      mode = next;
      links.forEach(apply);
    },
    get target() {
      return address.href;
    },
    set target(next) {
      address = new URL(next);
    },
    get connections() {
      return links.size;
    },
    get answerDelayMs() {
      return answerDelayMs;
    },
    set answerDelayMs(next) {
      answerDelayMs = next;
    },
    cut,
    close,
  };
}
