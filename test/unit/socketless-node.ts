/**
 * A node without ports: real parts on a backplane and a presence store in memory. Its sockets record the frames they
 * get, and the test sets the size of their buffers.
 *
 * Owns the end of the node's timers. A token is its identity as JSON, so a test can be any user; with
 * `assigned`: its rooms.
 */

import { Lane } from '../../gateway/admission/lane.ts';
import { type Publishing, Shares } from '../../gateway/admission/shares.ts';
import type { Authenticator } from '../../gateway/auth/authenticator.ts';
import type { Callback } from '../../gateway/auth/callback/callback.ts';
import type { Verified } from '../../gateway/auth/claims.ts';
import type { Identity } from '../../gateway/auth/grants.ts';
import { anonymous } from '../../gateway/auth/grants.ts';
import type { Backplane } from '../../gateway/backplane/backplane.ts';
import { MemoryBackplane } from '../../gateway/backplane/memory/backplane.ts';
import { MemoryPresence } from '../../gateway/backplane/memory/presence.ts';
import { Connection } from '../../gateway/connection/connection.ts';
import { UserConnections } from '../../gateway/connection/limits.ts';
import type { Membership } from '../../gateway/connection/membership/membership.ts';
import type { ConnectionParts } from '../../gateway/connection/parts.ts';
import type { Socket } from '../../gateway/connection/socket.ts';
import { Renewals } from '../../gateway/operations/renewals.ts';
import type { Dialect } from '../../gateway/protocol/dialect.ts';
import { roomcast } from '../../gateway/protocol/roomcast/dialect.ts';
import { MessageStamper } from '../../gateway/protocol/roomcast/message.ts';
import { Access, readRules } from '../../gateway/rooms/access.ts';
import { Backpressure } from '../../gateway/rooms/backpressure.ts';
import { Fanout, type Topics } from '../../gateway/rooms/fanout.ts';
import { Freeze } from '../../gateway/rooms/freeze.ts';
import { Hub } from '../../gateway/rooms/hub.ts';
import { Presence } from '../../gateway/rooms/presence.ts';
import { tellEvents } from '../../gateway/telemetry/events.ts';
import { Faults } from '../../gateway/telemetry/faults.ts';
import { createLog, type Logger } from '../../gateway/telemetry/log.ts';
import { closeCode } from '../../shared/codes.ts';
import type { GatewayFrame } from '../../shared/protocol.ts';
import { read } from './config/configuration.ts';

export interface SocketlessParts {
  rules: object[];
  settings?: Record<string, string>;
  backplane?: Backplane;
  callback?: Callback;
  log?: Logger;
  /** For publishes. */
  places?: Publishing;
}

export function tokenOf(identity: Identity): string {
  return JSON.stringify(identity);
}

/** A frame of the native dialect, as a transport passes it on. */
export function bytesOf(frame: object): ArrayBuffer {
  return new TextEncoder().encode(JSON.stringify(frame)).buffer;
}

export class SocketlessNode {
  readonly node: ConnectionParts;
  readonly hub: Hub;
  readonly presence: Presence;
  readonly store: MemoryPresence;
  readonly users: UserConnections<Connection>;
  readonly renewals = new Renewals<Membership>();
  /** Users whom an operator has blocked. */
  readonly blocks = new Set<string>();
  readonly backplane: Backplane;
  readonly #connections = new Set<Connection>();
  readonly #sockets = new Set<FakeSocket>();
  #count = 0;

  constructor({
    rules,
    settings = {},
    backplane = new MemoryBackplane(60_000),
    callback,
    log = createLog('silent'),
    places = { count: 10_000, bytes: 67_108_864 },
  }: SocketlessParts) {
    const config = read({ ANONYMOUS: 'true', ...settings });
    const checked = readRules({ rooms: rules });
    if ('mistakes' in checked) throw new Error(checked.mistakes.join('; '));
    const access = new Access(checked.rules);
    const { maxBufferedBytes, maxBufferedTotalBytes, maxRoomsPerConnection, maxConnectionsPerUser } = config;
    const backpressure = new Backpressure(
      maxBufferedBytes,
      maxBufferedTotalBytes,
      maxRoomsPerConnection,
      this.#connections,
    );
    const events = tellEvents();
    const freeze = new Freeze(() => {
      for (const connection of [...this.#connections]) connection.close(closeCode.overloaded);
    });
    const faults = new Faults(log);
    const fanout = new Fanout((topic, frame) => {
      for (const socket of [...this.#sockets]) if (socket.listensTo.has(topic)) socket.take(frame);
    }, backpressure);
    this.backplane = backplane;
    this.store = new MemoryPresence({ announces: (room) => access.rule(room).joinLeave });
    this.presence = new Presence({ store: this.store, access, backpressure, fanout, events, faults });
    this.hub = new Hub({ backplane, access, backpressure, fanout, freeze, events, presence: this.presence, faults });
    this.users = new UserConnections<Connection>(maxConnectionsPerUser);
    const authenticator = {
      anonymous,
      verify: async (token: string): Promise<Verified> => {
        const { assigned = [], ...identity } = JSON.parse(token) as Verified['identity'] & Partial<Verified>;
        return { identity, assigned, expiresAt: Date.now() + 3_600_000 };
      },
    } as unknown as Authenticator;
    const shares = new Shares(places);
    this.node = {
      ...{ config, instance: 'n-1', access, authenticator, backpressure, fanout, freeze, events, faults, log },
      ...{ shares, lanes: { api: new Lane(shares), input: new Lane(shares), post: new Lane(shares) } },
      ...{
        callback,
        renewals: this.renewals,
        blocks: this.blocks,
        hub: this.hub,
        presence: this.presence,
        stamper: new MessageStamper(),
        users: this.users,
      },
    };
  }

  async start(): Promise<this> {
    await Promise.all([this.backplane.start(this.hub), this.store.start(this.presence)]);
    return this;
  }

  /** Opens a connection. `shape` gets its socket before the first frame is sent. */
  connect(
    shape: (socket: FakeSocket) => void = () => undefined,
    dialect: Dialect = roomcast,
  ): { connection: Connection; socket: FakeSocket } {
    const socket = new FakeSocket();
    const connection = new Connection(++this.#count, socket, dialect, this.node);
    socket.onGone = () => {
      this.#connections.delete(connection);
      this.#sockets.delete(socket);
      connection.socketClosed();
    };
    this.#connections.add(connection);
    this.#sockets.add(socket);
    shape(socket);
    connection.open(undefined);
    return { connection, socket };
  }

  async close(): Promise<void> {
    this.node.freeze.close();
    await Promise.all([this.presence.close(), this.backplane.close()]);
  }
}

/** Throws if it is used after its end, where the WebSocket library would crash the process. */
export class FakeSocket implements Socket, Topics {
  readonly frames: GatewayFrame[] = [];
  readonly listensTo = new Set<string>();
  readonly address = '192.0.2.1';
  /** Bytes that the peer has not read. */
  buffered = 0;
  /** Called after each frame. */
  onSent: () => void = () => undefined;
  onGone: () => void = () => undefined;
  closedWith: number | undefined;
  #gone = false;

  get topics(): Topics {
    return this;
  }

  get gone(): boolean {
    return this.#gone;
  }

  send(text: string | Uint8Array): void {
    this.#use('send');
    this.take(text);
  }

  /** Called by the fan-out. */
  take(frame: string | Uint8Array): void {
    this.frames.push(JSON.parse(Buffer.from(frame as Uint8Array).toString()) as GatewayFrame);
    this.onSent();
  }

  ping(): void {
    this.#use('ping');
  }

  end(code: number): void {
    this.#use('end');
    this.#end(code);
  }

  destroy(): void {
    this.#use('destroy');
    this.#end(1006);
  }

  bufferedBytes(): number {
    return this.#gone ? 0 : this.buffered;
  }

  subscribe(topic: string): void {
    this.#use('subscribe');
    this.listensTo.add(topic);
  }

  unsubscribe(topic: string): void {
    this.#use('unsubscribe');
    this.listensTo.delete(topic);
  }

  isSubscribed(topic: string): boolean {
    this.#use('isSubscribed');
    return this.listensTo.has(topic);
  }

  #use(what: string): void {
    if (this.#gone) throw new Error(`${what} on a socket that has ended`);
  }

  #end(code: number): void {
    this.#gone = true;
    this.closedWith = code;
    this.onGone();
  }
}
