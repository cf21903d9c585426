/**
 * How a connection speaks: natively, in JSON or MessagePack, or as the SDKs of Centrifugo do, in JSON or Protobuf, also without WebSockets. What it says and hears are the frames of the
 * native protocol; here they become bytes, and bytes become them.
 *
 * Owns the wire forms. wire.ts and http-stream.ts carry them. It keeps nothing: an answer names what it answers. The codec of Protobuf is that of Centrifugo's SDK for JavaScript.
 */
import { decode, encode } from '@msgpack/msgpack';
import type { ErrorCode } from '../../shared/codes.ts';
import { type GatewayFrame, msgpackSubprotocol, type Position, subprotocol } from '../../shared/protocol.ts';
import { codec, decodeReplies } from '../unit/protocol/centrifugo-codec.ts';

/** What the gateway says: a frame, a word that messages are missing and the membership has ended, or a ping that wants an answer. */
export type Said =
  | GatewayFrame
  | { type: 'resubscribe'; room: string }
  | { type: 'ping' }
  /** Only of use without a WebSocket: what requests have to name, and the code in the place of a close frame. */
  | { type: 'session'; session: Session }
  | { type: 'closing'; code: number };

/** As in the answer to `connect`. */
export interface Session {
  session: string;
  node: string;
}

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

/** Without WebSockets. */
export interface EmulatedSpeech extends Speech {
  contentType: string;
  opening(token: string): string | Uint8Array;
  /** How many bytes at the beginning are whole replies. */
  wholeLength(bytes: Buffer): number;
  /** The body of a request that carries a message of the client. */
  envelope(session: Session, message: string | Uint8Array): string | Uint8Array;
}

export function isEmulated(speech: Speech): speech is EmulatedSpeech {
  return 'envelope' in speech;
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

const msgpack: Speech = {
  ...native,
  subprotocols: [msgpackSubprotocol],
  ask: (question, id) => encode({ ...question, id }),
  probe: encode({ type: 'ping' }),
  hear: (message) => [decode(message) as GatewayFrame],
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
  connect?: Partial<Session>;
  subscribe?: Partial<Position> & { recoverable?: true; was_recovering?: true; recovered?: true };
  push?: {
    channel: string;
    pub?: { data: unknown; offset?: number; time?: number };
    unsubscribe?: { code: number };
    disconnect?: { code: number };
  };
}

function saidBy({ id, error, connect, subscribe, push }: Reply): Said[] {
  if (push !== undefined) return pushed(push);
  if (id === undefined) return [{ type: 'ping' }];
  if (connect !== undefined) {
    const { session = '', node = '' } = connect;
    // The other fields are of no use here.
    return [{ type: 'session', session: { session, node } }, { type: 'welcome' } as GatewayFrame];
  }
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

function pushed({ channel: room, pub, unsubscribe, disconnect }: NonNullable<Reply['push']>): Said[] {
  if (disconnect !== undefined) return [{ type: 'closing', code: disconnect.code }];
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
): Speech & Pick<EmulatedSpeech, 'opening'> {
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
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Reply);
}

function wholeReplies(bytes: Buffer): number {
  for (let length = 0; ; ) {
    const next = codec.decodeReply(bytes.subarray(length));
    if (!next.ok) return length;
    length += next.pos;
  }
}

const json = centrifugo((command) => JSON.stringify(command), fromJson, []);
const protobuf = centrifugo(toProtobuf, fromProtobuf, ['centrifuge-protobuf']);
const path = '/connection/http_stream';

const jsonStream: EmulatedSpeech = {
  ...{ ...json, path, contentType: 'application/json' },
  wholeLength: (bytes) => bytes.lastIndexOf('\n') + 1,
  envelope: (session, message) => JSON.stringify({ ...session, data: String(message) }),
};

const protobufStream: EmulatedSpeech = {
  ...{ ...protobuf, path, contentType: 'application/octet-stream' },
  wholeLength: wholeReplies,
  envelope: (session, message) => codec.encodeEmulationRequest({ ...session, data: message }),
};

export const speeches = {
  native,
  'native msgpack': msgpack,
  'centrifugo json': json,
  'centrifugo json, http stream': jsonStream,
  'centrifugo protobuf': protobuf,
  'centrifugo protobuf, http stream': protobufStream,
} as const satisfies Record<string, Speech>;

export type Dialect = keyof typeof speeches;

/** For the clients in turn: a third each natively and in the two forms of Centrifugo, one in four of each third in another form. */
export const allDialects: readonly Dialect[] = [
  ...(['native', 'centrifugo json', 'centrifugo protobuf'] as const),
  ...(['native', 'centrifugo json', 'centrifugo protobuf'] as const),
  ...(['native', 'centrifugo json', 'centrifugo protobuf'] as const),
  ...(['native msgpack', 'centrifugo json, http stream', 'centrifugo protobuf, http stream'] as const),
];
