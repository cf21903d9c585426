/**
 * What the gateway tells a client, as values. A dialect encodes them. Types only.
 *
 * Messages of a room are not among them: they travel finished (gateway/protocol/dialect.ts).
 */
import type {
  ErrorFrame,
  FrameId,
  GapFrame,
  JoinLeaveFrame,
  OkFrame,
  PongFrame,
  ReconnectFrame,
  UnsubscribedFrame,
  WelcomeFrame,
} from '../../shared/protocol.ts';
import type { Present } from '../backplane/presence.ts';

/** A field that may be absent may also be undefined; dialects leave it out. */
type Fields<Frame> = { [Key in keyof Frame]: undefined extends Frame[Key] ? Frame[Key] | undefined : Frame[Key] };

export type Reply =
  | Fields<WelcomeFrame>
  | Fields<Pick<OkFrame, 'type' | 'id' | 'room' | 'epoch' | 'offset' | 'recovered' | 'duplicate' | 'expiresAt'>>
  | HistoryReply
  | PresenceReply
  | Fields<ErrorFrame>
  | GapReply
  | JoinLeaveFrame
  | ReconnectFrame
  | UnsubscribedFrame
  | Fields<PongFrame>;

export type GapReply = Fields<GapFrame>;

/** The answer to `history`. */
export interface HistoryReply {
  type: 'history';
  id: FrameId;
  /** The present epoch, its newest offset, and the oldest offset that is kept. */
  epoch: string;
  offset: number;
  first: number;
  /** As they travel between nodes, ascending. */
  messages: readonly Uint8Array[];
  /** There are more than these. */
  more: boolean;
}

/** The answer to `presence`. */
export interface PresenceReply {
  type: 'presence';
  id: FrameId;
  /** Connections and users in the room, all of them. */
  count: number;
  users: number;
  members: readonly Present[];
  /** There are more than these. */
  more: boolean;
}
