/**
 * How a connection speaks: natively, or as the SDKs of Centrifugo do, in JSON or in Protobuf. What it says and hears are the frames of the
 * native protocol; here they become bytes, and bytes become them.
 *
 * Owns the wire forms. It keeps nothing: an answer names what it answers. The codec of Protobuf is that of Centrifugo's SDK for JavaScript.
 */
import type { ErrorCode } from '../../shared/codes.ts';
import { type GatewayFrame, type Position, subprotocol } from '../../shared/protocol.ts';
import { codec, decodeReplies } from '../unit/protocol/centrifugo-codec.ts';

/** What the gateway says: a frame, a word that messages are missing and the membership has ended, or a ping that wants an answer. */
export type Said = GatewayFrame | { type: 'resubscribe'; room: string } | { type: 'ping' };

/** What a client says. */
export type Question =
  | { type: 'subscribe'; room: string; since?: Position }
  | { type: 'unsubscribe'; room: string }
  | { type: 'publish'; room: string; data: unknown; key?: string };

export interface Speech {
  path: string;
  subprotocols: string[];
  headers(token: string): Record<string, string>;
  /** The first message, where the token is not in the handshake. */
  opening?(token: string): string | Uint8Array;
  ask(question: Question, id: number): string | Uint8Array;
  /** Has the gateway say something. */
  probe: string | Uint8Array;
  /** The answer to a ping of the gateway. */
  pong: string | Uint8Array;
  hear(message: Buffer): Said[];
  /** A publish can have a key, and is told its position. */
  keyed: boolean;
}

const native: Speech = {
  path: '/ws',
  subprotocols: [subprotocol],
  headers: (token) => ({ authorization: `Bearer ${token}` }),
  ask: (question, id) => JSON.stringify({ ...question, id }),
  probe: '{"type":"ping"}',
  pong: '',
  hear: (message) => [JSON.parse(String(message)) as GatewayFrame],
  keyed: true,
};

/** A command or a reply, with text in the place of bytes. */
type Fields = Record<string, unknown>;

const connectId = 1;
/** Commands that ask something have higher ones. It is not offered, and that is an answer. */
const probe = { id: 2, ping: {} };
const firstId = 3;

function commandOf(question: Question, id: number): Fields {
  const { type, room: channel } = question;
  if (type === 'publish') return { id: id + firstId, publish: { channel, data: question.data } };
  if (type === 'unsubscribe') return { id: id + firstId, unsubscribe: { channel } };
  return {
    id: id + firstId,
    subscribe: { channel, ...(question.since === undefined ? {} : { recover: true, ...question.since }) },
  };
}

/** Anything else may mean that it was done, and is `internal`. */
const refusals: Record<number, ErrorCode> = {
  103: 'forbidden',
  106: 'limit_exceeded',
  107: 'bad_request',
  111: 'rate_limited',
};

interface Reply {
  id?: number;
  error?: { code: number; message: string };
  connect?: object;
  subscribe?: Partial<Position> & { recoverable?: true; was_recovering?: true; recovered?: true };
  push?: {
    channel: string;
    pub?: { data: unknown; offset?: number; time?: number };
    unsubscribe?: { code: number };
  };
}

function saidBy({ id, error, connect, subscribe, push }: Reply): Said[] {
  if (push !== undefined) return pushed(push);
  if (id === undefined) return [{ type: 'ping' }];
  // Its fields are of no use here.
  if (connect !== undefined) return [{ type: 'welcome' } as GatewayFrame];
  // To the probe, or to `connect`, whose connection then ends.
  if (id < firstId) return [{ type: 'pong' }];
  const answered = { id: id - firstId };
  if (error !== undefined) {
    return [{ type: 'error', ...answered, code: refusals[error.code] ?? 'internal', message: error.message }];
  }
  const { epoch, offset = 0, recoverable, was_recovering, recovered = false } = subscribe ?? {};
  const position = recoverable === true && epoch !== undefined ? { epoch, offset } : {};
  return [{ type: 'ok', ...answered, ...position, ...(was_recovering === true ? { recovered } : {}) }];
}

function pushed({ channel: room, pub, unsubscribe }: NonNullable<Reply['push']>): Said[] {
  if (unsubscribe !== undefined) {
    return [
      unsubscribe.code >= 2500 ? { type: 'resubscribe', room } : { type: 'unsubscribed', room, reason: 'kicked' },
    ];
  }
  if (pub === undefined) return [];
  const { data, offset, time = Number.NaN } = pub;
  return [{ type: 'message', room, data, at: time, ...(offset === undefined ? {} : { offset }) }];
}

function centrifugo(
  encode: (command: Fields) => string | Uint8Array,
  decode: (message: Buffer) => Reply[],
  subprotocols: string[],
): Speech {
  return {
    path: '/connection/websocket',
    subprotocols,
    headers: () => ({}),
    opening: (token) => encode({ id: connectId, connect: { token } }),
    ask: (question, id) => encode(commandOf(question, id)),
    probe: encode(probe),
    pong: encode({}),
    hear: (message) => decode(message).flatMap(saidBy),
    keyed: false,
  };
}

function toProtobuf(command: Fields): Uint8Array {
  const { publish } = command as { publish?: Fields };
  if (publish === undefined) return codec.encodeCommands([command]);
  return codec.encodeCommands([
    { ...command, publish: { ...publish, data: Buffer.from(JSON.stringify(publish.data)) } },
  ]);
}

function fromProtobuf(message: Buffer): Reply[] {
  const replies = decodeReplies(message) as Reply[];
  for (const { push } of replies) {
    if (push?.pub !== undefined) push.pub.data = JSON.parse(push.pub.data as string);
  }
  return replies;
}

function fromJson(message: Buffer): Reply[] {
  return String(message)
    .split('\n')
    .map((line) => JSON.parse(line) as Reply);
}

export const speeches = {
  native,
  'centrifugo json': centrifugo((command) => JSON.stringify(command), fromJson, []),
  'centrifugo protobuf': centrifugo(toProtobuf, fromProtobuf, ['centrifuge-protobuf']),
} as const satisfies Record<string, Speech>;

export type Dialect = keyof typeof speeches;
export const allDialects = Object.keys(speeches) as Dialect[];
