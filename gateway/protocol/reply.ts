/**
 * The frames from the gateway to a client, as values: answers, and notices such as `gap`, `join` and `reconnect`. A
 * dialect encodes them. Types only.
 *
 * Messages of a room are not among them: they are encoded once, by their first node (gateway/protocol/dialect.ts).
 */
import type {
  ErrorFrame,
  FrameId,
  GapFrame,
  JoinLeaveFrame,
  OkFrame,
  PongFrame,
  ReconnectFrame,
  SubscribedFrame,
  UnsubscribedFrame,
  WelcomeFrame,
} from '../../shared/protocol.ts';
import type { Present } from '../backplane/presence.ts';

/** Optional fields may also be undefined; dialects leave them out. */
type Fields<Frame> = { [Key in keyof Frame]: undefined extends Frame[Key] ? Frame[Key] | undefined : Frame[Key] };

export type Reply =
  | WelcomeReply
  | Fields<Pick<OkFrame, 'type' | 'id' | 'room' | 'epoch' | 'offset' | 'recovered' | 'duplicate' | 'expiresAt'>>
  | HistoryReply
  | PresenceReply
  | ErrorReply
  | ExpiredReply
  | CallReply
  | GapReply
  | JoinLeaveFrame
  | ReconnectFrame
  | Fields<SubscribedFrame>
  | UnsubscribedReply
  | Fields<PongFrame>;

/** `rooms`: those that the token assigns. Only dialects that open by a request tell them. */
export type WelcomeReply = Fields<WelcomeFrame> & { rooms?: readonly AssignedReply[] | undefined };

/** As the `ok` to a `subscribe`. */
export interface AssignedReply extends Pick<Fields<OkFrame>, 'epoch' | 'offset' | 'recovered'> {
  room: string;
  /** JSON text for the client, from the token. */
  data: string | undefined;
}

/** The first token has expired. Only for dialects that open by a request; others learn it from the close code. */
export interface ExpiredReply {
  type: 'expired';
  id: FrameId | undefined;
}

/** The answer of the operator's backend to a call. Only dialects with calls are told it. */
export type CallReply =
  | { type: 'called'; id: FrameId; data: string }
  | { type: 'uncalled'; id: FrameId; code: number; message: string };

export type GapReply = Fields<GapFrame>;

/** What an error is, where its code leaves it open. Only some dialects have words for it. */
export type FinerCode = 'token_expired' | 'unrecoverable' | 'not_offered';

export type ErrorReply = Fields<ErrorFrame> & { finer?: FinerCode | undefined };

/** `expired`: its subscription token. Only clients of dialects with such tokens can be told. */
export type UnsubscribedReply = Omit<UnsubscribedFrame, 'reason'> & { reason: UnsubscribedFrame['reason'] | 'expired' };

/** The answer to `history`. */
export interface HistoryReply {
  type: 'history';
  id: FrameId;
  /** The current epoch, its newest offset, and the oldest offset in history. */
  epoch: string;
  offset: number;
  first: number;
  /** `message` frames of the native dialect, by ascending offset. */
  messages: readonly Uint8Array[];
  /** More messages match than these. */
  more: boolean;
}

/** The answer to `presence`. */
export interface PresenceReply {
  type: 'presence';
  id: FrameId;
  /** All connections and all users in the room. */
  count: number;
  users: number;
  members: readonly Present[];
  /** The room has more members than these. */
  more: boolean;
}
