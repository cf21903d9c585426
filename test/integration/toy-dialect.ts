/**
 * A dialect as different from the native one as possible: binary messages, with fields separated by a control
 * character.
 *
 * Owns the count of encoded messages. `ToyClient` speaks it over `ws` from npm.
 */
import { WebSocket } from 'ws';
import type { Dialect } from '../../gateway/protocol/dialect.ts';
import type { Rejected, Request } from '../../gateway/protocol/request.ts';
import type { JoinLeaveFrame, MessageFrame } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { until } from '../support/until.ts';

const separator = '\x1f';
const bytesOf = (...fields: unknown[]) => Buffer.from(fields.map((field) => `${field ?? ''}`).join(separator));
const namesOf = ({ members }: Pick<JoinLeaveFrame, 'members'>) =>
  members.map((member) => ('user' in member ? member.user : member.connection)).join();

export function toyDialect(): Dialect & { encoded: number } {
  const toy = {
    subprotocol: 'toy.v1',
    binary: true,
    encoded: 0,
    decode,
    encode: encodeReply,
    message(frame: Uint8Array) {
      toy.encoded++;
      const { room, offset, data } = JSON.parse(Buffer.from(frame).toString()) as MessageFrame;
      return bytesOf('message', room, offset, JSON.stringify(data));
    },
    joinOfOthers:
      ({ room, members }: JoinLeaveFrame) =>
      (index: number) =>
        bytesOf('join', room, namesOf({ members: members.filter((_, each) => each !== index) })),
  } satisfies Dialect & { encoded: number };
  return toy;
}

function decode(message: ArrayBuffer): Request | Rejected {
  const [verb, id = '', room = '', ...rest] = Buffer.from(message).toString().split(separator);
  const [epoch = '', offset] = rest;
  if (verb === 'auth') return { type: 'auth', id, token: room };
  if (verb === 'publish') return { type: 'publish', id, room, data: epoch, key: undefined };
  if (verb === 'subscribe') {
    return { type: 'subscribe', id, room, since: offset === undefined ? undefined : { epoch, offset: Number(offset) } };
  }
  if (verb === 'history') {
    return { type: 'history', id, room, after: undefined, before: undefined, epoch: undefined, limit: 10 };
  }
  if (verb === 'presence') return { type: 'presence', id, room, after: undefined, limit: 10 };
  return { type: 'rejected', id, code: 'bad_request', message: 'Send a verb of the toy dialect.' };
}

const encodeReply: Dialect['encode'] = (reply) => {
  switch (reply.type) {
    case 'welcome':
      return bytesOf('welcome', reply.user);
    case 'ok':
      return bytesOf('ok', reply.id, reply.epoch, reply.offset, reply.recovered);
    case 'error':
      return bytesOf('error', reply.id, reply.code);
    case 'history':
      return bytesOf('history', reply.id, ...reply.messages.map((frame) => JSON.parse(`${Buffer.from(frame)}`).data));
    case 'presence':
      return bytesOf('presence', reply.id, reply.count, reply.members.map(({ user }) => user).join());
    case 'join':
    case 'leave':
      return bytesOf(reply.type, reply.room, namesOf(reply));
    case 'gap':
      return bytesOf('gap', reply.room, reply.reason, reply.count);
    case 'reconnect':
      return bytesOf('reconnect', reply.reason);
    case 'subscribed':
      return bytesOf('subscribed', reply.room);
    case 'unsubscribed':
      return bytesOf('unsubscribed', reply.room, reply.reason);
    case 'expired':
    case 'called':
    case 'uncalled':
      return bytesOf(reply.type, reply.id);
    case 'pong':
      return bytesOf('pong', reply.id);
  }
};

/** Records each received message as a list of its fields. */
export class ToyClient {
  readonly heard: string[][] = [];
  closed = false;
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('close', () => {
      this.closed = true;
    });
    socket.on('message', (data, isBinary) => {
      this.heard.push(isBinary ? String(data).split(separator) : ['a text message', String(data)]);
    });
  }

  static async connect(url: string, token: string): Promise<ToyClient> {
    const socket = new WebSocket(url, ['toy.v1'], { headers: { authorization: `Bearer ${token}` } });
    onCleanup(() => socket.terminate());
    const client = new ToyClient(socket);
    await client.next('welcome');
    return client;
  }

  send(...fields: unknown[]): void {
    this.#socket.send(bytesOf(...fields));
  }

  /** Resolves with the first message that begins with these fields. */
  next(...fields: string[]): Promise<string[]> {
    const find = () => this.heard.find((heard) => fields.every((field, index) => heard[index] === field));
    return until(() => find() as string[], 5_000, `${fields.join()} comes; ${JSON.stringify(this.heard)} did`);
  }
}
