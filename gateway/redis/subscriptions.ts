/**
 * The rooms that this node is subscribed to in Redis, through reconnects.
 *
 * Owns the state of each subscription, and the order of SUBSCRIBE and UNSUBSCRIBE commands. These are written in batches, once
 * a turn of the event loop. A subscription that was live and was interrupted calls `onRestored` before its next message. It
 * never knows the connection: `lost` and `restore` say what happens to that.
 */
import { type Deferred, deferred } from '../../shared/deferred.ts';
import { BackplaneError } from '../backplane/backplane.ts';

/** Bounds how long one command blocks Redis. */
const channelsPerCommand = 1_000;
/** Where rooms come back a part at a time: parts, their least size, and the time between two. */
const parts = 250;
const leastPart = 10;
const pauseMs = 10;

export interface SubscribeCommands {
  /** Channels of one `subscribe`; default: 1,000. Sharded channels of different slots need a command each. */
  readonly most?: number;
  /** Rooms that were interrupted come back a part at a time, over some seconds. Others wait for them less. */
  readonly inParts?: boolean;
  subscribe(channels: string[]): Promise<unknown>;
  /** `done`: answered, or failed. Called at once: a notice that a channel is gone may follow in the same read. */
  unsubscribe(channels: string[], done: () => void): void;
}

interface Subscription {
  readonly room: string;
  readonly channel: string;
  /** `lost`: not subscribed, until the connection is back or `add` is called again. */
  state: 'lost' | 'subscribing' | 'live';
  /** It was live; messages may have been missed since. */
  interrupted: boolean;
  /** Number of its SUBSCRIBE commands. The answer to an older one is ignored. */
  attempt: number;
  /** Rejected with a BackplaneError. */
  confirmed: Deferred;
  isConfirmed: boolean;
}

interface Command {
  verb: 'subscribe' | 'unsubscribe';
  subscriptions: { subscription: Subscription; attempt: number }[];
}

const away = () => new BackplaneError('unavailable', 'Redis is away');

export class Subscriptions {
  readonly #channelOf: (room: string) => string;
  readonly #commands: SubscribeCommands;
  readonly #onFailed: (error: Error, rooms: readonly string[]) => void;
  /** By channel. */
  readonly #subscriptions = new Map<string, Subscription>();
  #waiting: Command[] = [];
  /** They come back a part at a time. */
  #returning: Subscription[] = [];
  #part = leastPart;
  #nextPart: NodeJS.Timeout | undefined;
  /** Channels of UNSUBSCRIBE commands in flight, each as often as it is in one. */
  readonly #leaving = new Map<string, number>();
  /** A message that was passed on has come for them in this turn. */
  readonly #passedOn = new Set<Subscription>();
  #connected = false;

  /** An interrupted room is subscribed again. Called before its next message. */
  onRestored: (room: string) => void = () => undefined;

  /** `onFailed`: a SUBSCRIBE failed. Reconnect, or move its rooms, or they stay deaf on an open connection. */
  constructor(
    channelOf: (room: string) => string,
    commands: SubscribeCommands,
    onFailed: (error: Error, rooms: readonly string[]) => void,
  ) {
    this.#channelOf = channelOf;
    this.#commands = commands;
    this.#onFailed = onFailed;
  }

  /** Resolves when Redis confirms. Rejects with `unavailable`. */
  add(room: string): Promise<void> {
    const channel = this.#channelOf(room);
    let subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) {
      subscription = unsubscribed(room, channel, false);
      this.#subscriptions.set(channel, subscription);
    }
    if (subscription.state === 'lost') {
      if (!this.#connected) return Promise.reject(away());
      this.#begin(subscription);
    }
    return subscription.confirmed.promise;
  }

  /** Returns true if messages are missed from now on, or were before: it was live. */
  remove(room: string): boolean {
    const channel = this.#channelOf(room);
    const subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) return false;
    this.#subscriptions.delete(channel);
    if (!subscription.isConfirmed) subscription.confirmed.reject(away());
    if (subscription.state !== 'lost') this.#enqueue('unsubscribe', subscription);
    return subscription.interrupted || subscription.state === 'live';
  }

  /** As `add`, for a room that was subscribed at another server, and now or with the next connection. `interrupted`: it was live there. */
  take(room: string, interrupted: boolean): void {
    const channel = this.#channelOf(room);
    const subscription = unsubscribed(room, channel, interrupted);
    this.#subscriptions.set(channel, subscription);
    if (this.#connected) this.#return([subscription]);
  }

  /** It is not subscribed, and nothing is under way. */
  isLost(room: string): boolean {
    return this.#subscriptions.get(this.#channelOf(room))?.state === 'lost';
  }

  /**
   * Redis says that the channel is not subscribed any more. Returns its room, which is lost, or undefined if this node had asked
   * for it: what is sent behind an UNSUBSCRIBE in flight finds out by itself.
   */
  revoked(channel: string): string | undefined {
    const subscription = this.#subscriptions.get(channel);
    if (subscription === undefined || subscription.state === 'lost' || this.#leaving.has(channel)) return undefined;
    // Its SUBSCRIBE may have been answered in this very turn.
    subscription.attempt++;
    lose(subscription);
    return subscription.room;
  }

  /** A message came on this channel. Returns its room; undefined if it is not subscribed any more. */
  receive(channel: string): string | undefined {
    const subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) return undefined;
    // It may come before the answer to SUBSCRIBE. From here on it can be interrupted.
    subscription.state = 'live';
    if (subscription.interrupted) this.#restored(subscription);
    return subscription.room;
  }

  /** As `receive`, for a message that is not delivered: `onRestored` is called once for all of a room that come in one turn. */
  passedOn(channel: string): string | undefined {
    const subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) return undefined;
    if (this.#passedOn.size === 0) setImmediate(() => this.#passedOn.clear());
    if (!this.#passedOn.has(subscription)) subscription.interrupted = true;
    this.#passedOn.add(subscription);
    return this.receive(channel);
  }

  /** The connection is closed, and with it all subscriptions. */
  lost(): void {
    this.#connected = false;
    this.#waiting = [];
    this.#returning = [];
    clearTimeout(this.#nextPart);
    this.#nextPart = undefined;
    for (const subscription of this.#subscriptions.values()) lose(subscription);
  }

  /** The connection is new: subscribes all rooms again. */
  restore(): void {
    this.#connected = true;
    this.#return([...this.#subscriptions.values()]);
  }

  close(): void {
    this.lost();
    this.#subscriptions.clear();
  }

  #return(subscriptions: Subscription[]): void {
    if (!this.#commands.inParts) {
      for (const subscription of subscriptions) if (subscription.state === 'lost') this.#begin(subscription);
      return;
    }
    for (const subscription of subscriptions) this.#returning.push(subscription);
    this.#part = Math.max(this.#part, Math.ceil(this.#returning.length / parts));
    if (this.#nextPart === undefined) this.#returnSome();
  }

  #returnSome(): void {
    for (const subscription of this.#returning.splice(0, this.#part)) {
      // It may have been asked for meanwhile, or left.
      const isHere = this.#subscriptions.get(subscription.channel) === subscription;
      if (isHere && subscription.state === 'lost') this.#begin(subscription);
    }
    const isDone = this.#returning.length === 0;
    this.#nextPart = isDone ? undefined : setTimeout(() => this.#returnSome(), pauseMs);
    if (isDone) this.#part = leastPart;
  }

  #begin(subscription: Subscription): void {
    subscription.attempt++;
    subscription.state = 'subscribing';
    subscription.confirmed = deferred();
    subscription.isConfirmed = false;
    this.#enqueue('subscribe', subscription);
  }

  #enqueue(verb: Command['verb'], subscription: Subscription): void {
    if (this.#waiting.length === 0) setImmediate(() => this.#write());
    const entry = { subscription, attempt: subscription.attempt };
    const last = this.#waiting.at(-1);
    const most = verb === 'subscribe' ? (this.#commands.most ?? channelsPerCommand) : channelsPerCommand;
    if (last?.verb === verb && last.subscriptions.length < most) last.subscriptions.push(entry);
    else this.#waiting.push({ verb, subscriptions: [entry] });
  }

  #write(): void {
    const commands = this.#waiting;
    this.#waiting = [];
    for (const { verb, subscriptions } of commands) {
      const channels = subscriptions.map(({ subscription }) => subscription.channel);
      if (verb === 'unsubscribe') this.#unsubscribe(channels);
      else this.#subscribe(channels, subscriptions);
    }
  }

  #unsubscribe(channels: string[]): void {
    for (const channel of channels) this.#leaving.set(channel, (this.#leaving.get(channel) ?? 0) + 1);
    // If it fails, `receive` ignores the channel until the next connection.
    this.#commands.unsubscribe(channels, () => {
      for (const channel of channels) {
        const left = (this.#leaving.get(channel) ?? 1) - 1;
        if (left === 0) this.#leaving.delete(channel);
        else this.#leaving.set(channel, left);
      }
    });
  }

  #subscribe(channels: string[], asked: Command['subscriptions']): void {
    const current = () =>
      asked
        .filter(({ subscription, attempt }) => subscription.attempt === attempt)
        .map(({ subscription }) => subscription)
        .filter((subscription) => this.#subscriptions.get(subscription.channel) === subscription);
    this.#commands.subscribe(channels).then(
      () => {
        for (const subscription of current()) {
          subscription.state = 'live';
          if (subscription.interrupted) this.#restored(subscription);
          subscription.confirmed.resolve();
          subscription.isConfirmed = true;
        }
      },
      (error: Error) => {
        const failed = current();
        const isCertain = error instanceof BackplaneError && error.code === 'unavailable';
        for (const subscription of failed) lose(subscription, isCertain ? error : away());
        this.#onFailed(
          error,
          failed.map(({ room }) => room),
        );
      },
    );
  }

  #restored(subscription: Subscription): void {
    subscription.interrupted = false;
    this.onRestored(subscription.room);
  }
}

function unsubscribed(room: string, channel: string, interrupted: boolean): Subscription {
  return { room, channel, state: 'lost', interrupted, attempt: 0, confirmed: deferred(), isConfirmed: false };
}

function lose(subscription: Subscription, why: BackplaneError = away()): void {
  if (subscription.state === 'live') subscription.interrupted = true;
  subscription.state = 'lost';
  // Most are: errors for nobody would hold up a node with thousands of rooms.
  if (!subscription.isConfirmed) subscription.confirmed.reject(why);
}
