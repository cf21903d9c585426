/**
 * A node on a Redis of its own, with what gives it work in portions that do not depend on time: bursts that come in one
 * read, each begun when the last one is done.
 *
 * A burst is kept below what Redis reads at once. Whoever waits for its end is this process; the node is not asked.
 */
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { WebSocket } from 'ws';
import { dialects } from '../../gateway/cli/load/dialects.ts';
import { EnvelopeWriter } from '../../gateway/redis/envelope.ts';
import { RedisNames } from '../../gateway/redis/names.ts';
import type { GatewayFrame } from '../../shared/protocol.ts';
import { apiKey } from '../integration/api.ts';
import { endpointOf } from '../integration/centrifugo-member.ts';
import { roomsFile } from '../integration/files.ts';
import { tokenOf } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connectWelcomed } from '../support/client.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import type { FrameParts } from '../support/raw-frame.ts';
import { handshake, RawSocket } from '../support/raw-socket.ts';
import { until, within } from '../support/until.ts';
import { Meter, meterFlags } from './meter.ts';

const payload = 'x'.repeat(128);
const deadlineMs = 30_000;
const longestPing = 2;
const prefix = 'work';
const names = new RedisNames(prefix, 0);
const envelopes = new EnvelopeWriter();
/** Pings belong to time, not to work: there are next to none. */
const settings = {
  ...{ REDIS_PREFIX: prefix, PUBLISH_RATE: 0, REQUEST_RATE: 0, PING_INTERVAL_MS: 600_000 },
  ...{ API_KEY: apiKey, CENTRIFUGO: true },
};

type CentrifugoProtocol = 'centrifugo' | 'centrifugoProtobuf';
export type MemberProtocol = 'gateway' | CentrifugoProtocol;

export class Stage {
  readonly node: SpawnedNode;
  readonly meter: Meter;
  readonly #redis: Redis;
  /** Messages that are still to be heard. */
  #missing = 0;
  #heardAll: () => void = () => undefined;

  /** `program` as for spawnNode; `more` settings. Rooms `kept:...` have history. */
  static async set(program?: string, more: NodeSettings = {}): Promise<Stage> {
    const redis = await ownRedis();
    const rooms = roomsFile({ match: 'kept:*', history: { size: 10 } });
    const all = { ...settings, REDIS_URL: redis.url, ROOMS_FILE: rooms, MAX_CONNECTIONS_PER_USER: 0, ...more };
    return new Stage(await spawnNode(all, program, meterFlags), redis.url);
  }

  private constructor(node: SpawnedNode, redisUrl: string) {
    this.node = node;
    this.meter = new Meter(node, redisUrl);
    this.#redis = new Redis(redisUrl);
    onCleanup(() => this.#redis.disconnect());
  }

  /** Members that count what they hear, in this protocol. */
  async fill(room: string, members: number, protocol: MemberProtocol = 'gateway'): Promise<void> {
    const token = await tokenOf('member');
    const join = () => (protocol === 'gateway' ? this.#join(token, room) : this.#joinBy(protocol, token, room));
    for (let left = members; left > 0; left -= 50) {
      await Promise.all(Array.from({ length: Math.min(left, 50) }, join));
    }
  }

  /** Waits until members have heard so many messages since `work` began. */
  async heard(messages: number, work: () => Promise<unknown>): Promise<void> {
    this.#missing = messages;
    const all = new Promise<void>((resolve) => {
      this.#heardAll = resolve;
    });
    await work();
    await within(all, deadlineMs, `${messages} messages are heard`);
  }

  /** One message to each of the rooms, as another node publishes them, in one write. */
  async fromElsewhere(rooms: string[]): Promise<void> {
    const burst = this.#redis.pipeline();
    for (const room of rooms) {
      const frame = `{"type":"message","room":"${room}","id":"elsewhere","data":"${payload}","at":1700000000000}`;
      const envelope = envelopes.message({ room, prefix: frame, suffix: '', at: 1_700_000_000_000 });
      burst.publish(names.channel(room), envelope);
    }
    await burst.exec();
  }

  /** Waits for so many messages by which the node looks whether Redis is there, one a second. */
  async canaries(wanted: number): Promise<void> {
    let seen = 0;
    const ear = this.#redis.duplicate();
    onCleanup(() => ear.disconnect());
    ear.on('pmessage', () => {
      seen++;
    });
    await ear.psubscribe(`${prefix}:canary:*`);
    await until(() => seen >= wanted, deadlineMs, `${wanted} canaries`);
    ear.disconnect();
  }

  async enter(): Promise<Guest> {
    const socket = await RawSocket.connect(this.node.port);
    await socket.write(handshake({ headers: { Authorization: `Bearer ${await tokenOf('guest')}` } }));
    await socket.response();
    await socket.frame();
    return new Guest(socket);
  }

  /** The operator's backend, with so many keep-alive connections to the HTTP API. */
  async backend(connections: number): Promise<Backend> {
    const sockets = await Promise.all(
      Array.from({ length: connections }, () => RawSocket.connect(this.node.adminPort)),
    );
    return new Backend(sockets);
  }

  async #join(token: string, room: string): Promise<void> {
    const client = await connectWelcomed(this.node.url, token);
    await client.subscribe(room);
    client.socket.removeAllListeners('message');
    this.#listen(client.socket);
  }

  async #joinBy(protocol: CentrifugoProtocol, token: string, room: string): Promise<void> {
    const { hello, join, opening, joined, heartbeat } = dialects[protocol];
    const encoding = protocol === 'centrifugo' ? 'utf8' : 'latin1';
    const subprotocols = protocol === 'centrifugo' ? [] : ['centrifuge-protobuf'];
    const socket = new WebSocket(endpointOf(this.node), subprotocols);
    onCleanup(() => socket.terminate());
    await once(socket, 'open');
    for (const [frame, answer] of [
      [hello?.(token), opening[0]?.awaits],
      [join(room), joined],
    ]) {
      const answered = once(socket, 'message');
      socket.send(protocol === 'centrifugo' ? (frame ?? '') : Buffer.from(frame ?? '', encoding));
      const [told] = (await within(answered, deadlineMs, 'a command is answered')) as [Buffer];
      if (!told.toString(encoding).includes(answer ?? '')) throw new Error(`a command was answered by ${told}`);
    }
    // Without an answer the node closes the connection after 10 s.
    this.#listen(socket, (message) => {
      if (message.toString(encoding) !== heartbeat?.ping) return false;
      socket.send(protocol === 'centrifugo' ? heartbeat.pong : Buffer.from(heartbeat.pong, encoding));
      return true;
    });
  }

  #listen(socket: WebSocket, answersPing: (message: Buffer) => boolean = () => false): void {
    socket.on('message', (message: Buffer) => {
      if (message.length <= longestPing && answersPing(message)) return;
      this.#missing--;
      if (this.#missing === 0) this.#heardAll();
    });
  }
}

/** A client that sends several frames in one write. */
export class Guest {
  readonly #socket: RawSocket;

  constructor(socket: RawSocket) {
    this.#socket = socket;
  }

  /** Waits for as many frames as the gateway answers with: one for each id, if nothing else is said. */
  async send(frames: object[], answers = frames.filter((frame) => 'id' in frame).length): Promise<GatewayFrame[]> {
    await this.#socket.send(...frames.map((frame): FrameParts => ({ payload: JSON.stringify(frame) })));
    const answered: GatewayFrame[] = [];
    while (answered.length < answers) answered.push(JSON.parse(String((await this.#socket.frame(deadlineMs)).payload)));
    return answered;
  }
}

export class Backend {
  readonly #sockets: RawSocket[];

  constructor(sockets: RawSocket[]) {
    this.#sockets = sockets;
  }

  /** Publishes to a room on each connection at once, and waits for the answers. */
  async publish(room: string): Promise<void> {
    const body = JSON.stringify({ data: payload });
    const head = [
      `POST /api/rooms/${room}/messages HTTP/1.1`,
      'Host: node',
      `Authorization: Bearer ${apiKey}`,
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
    ];
    const request = `${head.join('\r\n')}\r\n\r\n${body}`;
    await Promise.all(this.#sockets.map((socket) => socket.write(Buffer.from(request))));
    for (const socket of this.#sockets) {
      const { status, headers } = await socket.response(deadlineMs);
      if (status !== 200) throw new Error(`a publish by the API was answered by ${status}`);
      await socket.skip(Number(new Map(headers).get('content-length')));
    }
  }
}

export function publishFrame(room: string, id?: number): object {
  return { type: 'publish', room, data: payload, ...(id === undefined ? {} : { id }) };
}
