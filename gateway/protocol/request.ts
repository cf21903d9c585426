/**
 * What a client can ask for, as values. A dialect decodes them from what was sent; sizes, forms and limits of every field are
 * checked there. Types only.
 */
import type { ErrorCode } from '../../shared/codes.ts';
import type { FrameId, Position } from '../../shared/protocol.ts';

export type Request =
  | { type: 'auth'; id: FrameId | undefined; token: string }
  | SubscribeRequest
  | { type: 'unsubscribe'; id: FrameId; room: string }
  | PublishRequest
  | HistoryRequest
  | PresenceRequest
  | { type: 'ping'; id: FrameId | undefined };

/** A request that concerns one room. */
export type RoomRequest = Extract<Request, { room: string }>;

export interface SubscribeRequest {
  type: 'subscribe';
  id: FrameId;
  room: string;
  /** Resumes behind this position. */
  since: Position | undefined;
}

export interface PublishRequest {
  type: 'publish';
  /** Without one there is no answer but an error. */
  id: FrameId | undefined;
  room: string;
  /** JSON text. */
  data: string;
  /** Makes the publish idempotent, for one publisher and room. */
  key: string | undefined;
}

export interface HistoryRequest {
  type: 'history';
  id: FrameId;
  room: string;
  /** Offsets, exclusive. Without `after` the newest messages are asked for. */
  after: number | undefined;
  before: number | undefined;
  /** The epoch that the offsets belong to; the present one if undefined. */
  epoch: string | undefined;
  /** Messages in the answer, at most. */
  limit: number;
}

export interface PresenceRequest {
  type: 'presence';
  id: FrameId;
  room: string;
  /** Members in the answer, at most. */
  limit: number;
  /** Connection id of the last member of the page before. */
  after: string | undefined;
}

/** What was sent is no request, or none that this gateway offers. */
export interface Rejected {
  type: 'rejected';
  id: FrameId | undefined;
  code: Extract<ErrorCode, 'bad_request' | 'unsupported'>;
  /** A sentence that says what to do. */
  message: string;
}
