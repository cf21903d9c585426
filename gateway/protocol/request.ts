/**
 * The requests of clients, as values. A dialect decodes them, and checks form, size and limits of every field. Types
 * only.
 */
import type { ErrorCode } from '../../shared/codes.ts';
import type { FrameId } from '../../shared/protocol.ts';

export type Request =
  | AuthRequest
  | SubscribeRequest
  | { type: 'unsubscribe'; id: FrameId; room: string }
  | RenewRequest
  | PublishRequest
  | HistoryRequest
  | PresenceRequest
  | CallRequest
  | { type: 'ping'; id: FrameId | undefined }
  /** Answers the `ping` of a dialect. */
  | { type: 'pong'; id: undefined };

/** A request for one room. */
export type RoomRequest = Extract<Request, { room: string }>;

/** Those that end a membership, or make it last. */
export type ChangeRequest = Extract<Request, { type: 'unsubscribe' | 'renew' }>;

export interface AuthRequest {
  type: 'auth';
  id: FrameId | undefined;
  /** Undefined: it asks to be anonymous. Only with `opens`. */
  token: string | undefined;
  /** True: it can only be the first request; false: it cannot. Absent: it can be either. */
  opens?: boolean;
  /** The last positions of its client in rooms that the token may assign. Only with `opens`. */
  since?: ReadonlyMap<string, Since>;
}

/** A position of the client. */
export interface Since {
  /** Undefined: the current one, whatever it is. */
  epoch: string | undefined;
  offset: number;
}

export interface SubscribeRequest {
  type: 'subscribe';
  id: FrameId;
  room: string;
  /** Resumes after this position. */
  since: Since | undefined;
  /** True: it becomes no member unless it gets everything since then. */
  onlyRecovered?: boolean;
  /** Gives the right to this room: gateway/operations/subscription-token.ts. */
  token?: string | undefined;
}

/** A new subscription token, in place of the one of `subscribe`. */
export interface RenewRequest {
  type: 'renew';
  id: FrameId;
  room: string;
  token: string;
}

export interface PublishRequest {
  type: 'publish';
  /** Without an id the only possible answer is an error. */
  id: FrameId | undefined;
  room: string;
  /** JSON text. */
  data: string;
  /** Makes the publish idempotent, per publisher and room. */
  key: string | undefined;
}

export interface HistoryRequest {
  type: 'history';
  id: FrameId;
  room: string;
  /** Offsets, exclusive. Without `after`: the newest messages. */
  after: number | undefined;
  before: number | undefined;
  /** The epoch of the offsets; undefined is the current one. */
  epoch: string | undefined;
  /** Maximum number of messages in the answer. */
  limit: number;
}

export interface PresenceRequest {
  type: 'presence';
  id: FrameId;
  room: string;
  /** Maximum number of members in the answer. */
  limit: number;
  /** The connection id of the last member of the previous page. */
  after: string | undefined;
}

/** Something for the operator's backend to do. */
export interface CallRequest {
  type: 'call';
  /** Undefined: it expects no answer. */
  id: FrameId | undefined;
  /** It has none. All calls of a client keep their order, as the requests for one room do. */
  room: '';
  method: string;
  /** JSON text. */
  data: string;
}

/** A message that is not a valid request, or one of an unknown type. */
export interface Rejected {
  type: 'rejected';
  id: FrameId | undefined;
  code: Extract<ErrorCode, 'bad_request' | 'unsupported'>;
  /** Tells the client what to do. */
  message: string;
}
