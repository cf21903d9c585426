/**
 * One room of a client, over all of its connections: which messages are new, and where some are missing.
 *
 * Owns the position, and which connection counts. In a room with history that is the one that joined last, because a resume
 * brings what the older one had not told yet. In a plain room both count while a client moves: the older one tells what it has,
 * and the newer one goes on from the first message that both have, known by its id. It never sends; gateway/rooms is the other
 * end of it.
 */
import type { GapFrame, GatewayFrame, JoinLeaveFrame, MessageFrame, OkFrame, Position } from '../../protocol.ts';
import type { Connection } from '../connection/connection.ts';
import { Emitter } from '../emitter.ts';
import { RoomcastError } from '../error.ts';
import { membersOf } from './requests.ts';

/** `offset` in a room with history, `id` in a plain one; `from`, if it has an author; `at`, of the node that accepted it. */
export interface Message extends Omit<MessageFrame, 'type' | 'room'> {
  /** It was published while this client was away. */
  recovered: boolean;
}

/**
 * Messages are missing here, so load the state afresh.
 *
 * `reconnect`: the connection was lost, and a plain room replays nothing. `unrecovered`: the room cannot go on from the
 * position. The others come from the gateway (docs/protocol.md); `count` 0: only `join` or `leave` may be missing.
 */
export interface Gap extends Pick<GapFrame, 'first' | 'last' | 'count'> {
  reason: GapFrame['reason'] | 'reconnect' | 'unrecovered';
}

export interface RoomEvents {
  message: Message;
  gap: Gap;
  join: JoinLeaveFrame['members'];
  leave: JoinLeaveFrame['members'];
  /** `joining` covers the time without a connection. `error` says why a membership ended that `unsubscribe` did not end. */
  state: { state: RoomState; error: RoomcastError | undefined };
}

export type RoomState = 'idle' | 'joining' | 'joined';

/** Ids of a plain room, and own keys whose messages are hidden. The oldest are forgotten. */
const maxRemembered = 1_000;
/** In the second of a move. */
const maxInMove = 10_000;

export class Subscription {
  readonly name: string;
  readonly events = new Emitter<RoomEvents>();
  state: RoomState = 'idle';
  /** The application asked for it, or the backend made it a member, and nobody has taken that back. */
  isWanted = false;
  /** How often it was left: an answer to an earlier `subscribe` says nothing about a later one. */
  times = 0;
  position: Position | undefined;
  /** The connection whose frames count, and the one that it replaces in a plain room. */
  #lead: Connection | undefined;
  #previous: Connection | undefined;
  #wasJoined = false;
  /** Whether what the lead tells from before its welcome was missed. */
  #isResumed = false;
  /** In a plain room: what was told. A node may be behind, so the next one may tell what is known. */
  readonly #seen = new Set<string>();
  /** In a move: what the lead tells and the older connection has not told yet, by id. The room's order is kept so. */
  readonly #held = new Map<string, MessageFrame>();
  readonly #hidden = new Set<string>();
  #waiting: { resolve(): void; reject(error: RoomcastError): void }[] = [];
  /** Both connections have told the same message, so the older one has nothing more to tell. */
  #haveMet = false;
  readonly #met: () => void;

  /** `met` is called when the older connection is not needed any more. */
  constructor(name: string, since: Position | undefined, met: () => void) {
    this.name = name;
    this.position = since;
    this.#met = met;
  }

  /** Resolves when it is in the room. */
  joining(): Promise<void> {
    this.isWanted = true;
    if (this.state === 'joined') return Promise.resolve();
    this.#become('joining');
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** The members of a `subscribe` frame. */
  request(): string {
    return membersOf({ type: 'subscribe', room: this.name, since: this.position });
  }

  /** The connection on which it is a member now. */
  get lead(): Connection | undefined {
    return this.#lead;
  }

  /** False while the older of two connections may still tell something new. */
  get hasMoved(): boolean {
    return this.#previous === undefined || this.#haveMet;
  }

  /** The answer to a `subscribe`, or the `subscribed` that stands for one. */
  joined(connection: Connection, ok: Pick<OkFrame, 'epoch' | 'offset' | 'recovered'>): void {
    // The backend has made it a member already: the answer says nothing new.
    if (this.#lead === connection) return;
    const old = this.#lead;
    this.#parted();
    const { epoch, offset = 0 } = ok;
    const at = epoch === undefined ? undefined : { epoch, offset };
    const missing = this.#missing(at, ok.recovered === true, old !== undefined);
    const isBehind = at !== undefined && at.epoch === this.position?.epoch && at.offset < this.position.offset;
    if (!isBehind || missing !== undefined) this.position = at;
    this.#lead = connection;
    this.#previous = at === undefined ? old : undefined;
    this.#haveMet = false;
    this.#isResumed = ok.recovered === true;
    this.#wasJoined = this.isWanted = true;
    this.#become('joined');
    if (missing !== undefined) this.events.emit('gap', { reason: missing });
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  /** Why messages before this place are missing, if they are. */
  #missing(at: Position | undefined, recovered: boolean, isMoving: boolean): Gap['reason'] | undefined {
    const heard = this.position;
    if (recovered) return undefined;
    if (heard === undefined) return this.#wasJoined && !isMoving ? 'reconnect' : undefined;
    const isSame = at?.epoch === heard.epoch && (at.offset === heard.offset || (isMoving && at.offset < heard.offset));
    return isSame ? undefined : 'unrecovered';
  }

  /** It is a member no more: by `unsubscribe`, or because the gateway does not let it in, or the client has ended. */
  left(error?: RoomcastError): void {
    this.isWanted = false;
    this.#lead = this.#previous = undefined;
    this.#held.clear();
    // Who leaves knows that the room goes on without him; others are told once they are back.
    this.#wasJoined &&= error !== undefined;
    this.times++;
    for (const { reject } of this.#waiting.splice(0)) reject(error ?? new RoomcastError('closed', 'unsubscribed'));
    this.#become('idle', error);
  }

  /** A connection is gone: its frames count no more. `isRetired`: it was heard for long enough. */
  ended(connection: Connection, isRetired: boolean): void {
    if (this.#previous === connection) this.#parted(isRetired);
    if (this.#lead !== connection) return;
    this.#lead = this.#previous;
    this.#previous = undefined;
    this.#held.clear();
    if (this.#lead === undefined) this.#become('joining');
  }

  /** Messages with this key, of this user, are this client's own and not wanted. */
  hide(key: string): void {
    forget(this.#hidden, maxRemembered);
    this.#hidden.add(key);
  }

  /** A frame of this room. */
  take(connection: Connection, frame: MessageFrame | GapFrame | JoinLeaveFrame): void {
    const isLead = connection === this.#lead;
    if (!isLead && connection !== this.#previous) return;
    if (frame.type === 'message') this.#message(frame, isLead);
    else if (frame.type === 'gap') this.#gap(frame, isLead);
    else if (isLead) this.events.emit(frame.type, frame.members);
  }

  /** The gateway has ended the membership. True: subscribe again, the room is another kind now. */
  unsubscribed(connection: Connection, reason: Extract<GatewayFrame, { type: 'unsubscribed' }>['reason']): boolean {
    if (this.#previous === connection) this.#parted();
    if (this.#lead !== connection) return false;
    this.#lead = undefined;
    if (reason === 'changed') {
      this.#become('joining');
      return true;
    }
    this.left(new RoomcastError('forbidden', `the gateway ended the membership: ${reason}`));
    return false;
  }

  #message(frame: MessageFrame, byLead: boolean): void {
    const { id = '' } = frame;
    if (!this.hasMoved) {
      if (byLead && !this.#seen.has(id) && this.#held.size < maxInMove) {
        this.#held.set(id, frame);
        return;
      }
      if (byLead || this.#held.has(id)) {
        this.#haveMet = true;
        this.#release();
        this.#met();
      }
    }
    this.#tell(frame);
  }

  /** The older connection tells no more. If it died, or is behind, nobody knows what it had still to tell. */
  #parted(isRetired = false): void {
    if (!this.hasMoved && (!isRetired || this.#held.size > 0)) this.events.emit('gap', { reason: 'reconnect' });
    this.#previous = undefined;
    this.#release();
  }

  #release(): void {
    // A listener may leave the room meanwhile, which forgets the others.
    for (const [id, frame] of this.#held) {
      this.#held.delete(id);
      this.#tell(frame);
    }
  }

  #tell(frame: MessageFrame): void {
    if (this.#isKnown(frame)) return;
    const { type, room, ...message } = frame;
    const { from = null, key = '', at } = message;
    // Over HTTP nobody may know the user: then the key decides.
    const { user = from, now = 0 } = this.#lead?.welcome ?? {};
    if (from === user && this.#hidden.delete(key)) return;
    this.events.emit('message', { recovered: this.#isResumed && at < now, ...message });
  }

  #isKnown({ offset, id }: MessageFrame): boolean {
    if (offset !== undefined && this.position !== undefined) {
      if (offset <= this.position.offset) return true;
      this.position = { epoch: this.position.epoch, offset };
    } else if (id !== undefined) {
      if (this.#seen.has(id)) return true;
      forget(this.#seen, this.#previous === undefined ? maxRemembered : maxInMove);
      this.#seen.add(id);
    }
    return false;
  }

  #gap({ type, room, epoch, offset, ...gap }: GapFrame, byLead: boolean): void {
    if (byLead) this.#release();
    if (epoch !== undefined && offset !== undefined) {
      if (epoch === this.position?.epoch && offset <= this.position.offset) return;
      this.position = { epoch, offset };
    }
    this.events.emit('gap', gap);
  }

  #become(state: RoomState, error?: RoomcastError): void {
    if (this.state === state) return;
    this.state = state;
    this.events.emit('state', { state, error });
  }
}

/** Makes room for one more: a Set keeps its order. */
function forget(known: Set<string>, max: number): void {
  for (const oldest of known.keys()) {
    if (known.size < max) return;
    known.delete(oldest);
  }
}
