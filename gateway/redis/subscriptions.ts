/**
 * Which rooms this node is subscribed to in Redis, through reconnects.
 *
 * Owns the state of each subscription and the order of SUBSCRIBE and UNSUBSCRIBE commands, which are written in batches,
 * once a turn. It knows no connection: it is told when the connection was lost and when to subscribe everything again.
 * A subscription that was live and got lost is restored with `onRestored` before its next message.
 */
import { type Deferred, deferred } from '../../shared/deferred.ts';
import { BackplaneError } from '../backplane/backplane.ts';

/** Channels in one command: large enough to be quick, small enough not to hold up Redis. */
const channelsPerCommand = 1_000;

export interface SubscribeCommands {
  subscribe(channels: string[]): Promise<unknown>;
  unsubscribe(channels: string[]): Promise<unknown>;
}

interface Subscription {
  readonly room: string;
  readonly channel: string;
  /** `lost`: not subscribed, until the connection is back or somebody asks again. */
  state: 'lost' | 'subscribing' | 'live';
  /** It was live, and messages may have passed by since. */
  interrupted: boolean;
  /** Counts the SUBSCRIBE commands for it: only the answer to the last one says anything. */
  attempt: number;
  /** Rejected with a BackplaneError. */
  confirmed: Deferred;
}

interface Command {
  verb: 'subscribe' | 'unsubscribe';
  subscriptions: { subscription: Subscription; attempt: number }[];
}

const away = () => new BackplaneError('unavailable', 'Redis is away');

export class Subscriptions {
  readonly #channelOf: (room: string) => string;
  readonly #commands: SubscribeCommands;
  readonly #onFailed: (error: Error) => void;
  /** By channel. */
  readonly #subscriptions = new Map<string, Subscription>();
  #waiting: Command[] = [];
  #connected = false;

  /** Called when a room that was interrupted is subscribed again, before its next message. */
  onRestored: (room: string) => void = () => undefined;

  /** `onFailed`: a SUBSCRIBE failed; the connection must be made anew, or rooms would stay deaf on a live one. */
  constructor(channelOf: (room: string) => string, commands: SubscribeCommands, onFailed: (error: Error) => void) {
    this.#channelOf = channelOf;
    this.#commands = commands;
    this.#onFailed = onFailed;
  }

  /** Resolves when Redis confirmed; rejects with `unavailable` when it cannot. */
  add(room: string): Promise<void> {
    const channel = this.#channelOf(room);
    let subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) {
      subscription = { room, channel, state: 'lost', interrupted: false, attempt: 0, confirmed: deferred() };
      this.#subscriptions.set(channel, subscription);
    }
    if (subscription.state === 'lost') {
      if (!this.#connected) return Promise.reject(away());
      this.#begin(subscription);
    }
    return subscription.confirmed.promise;
  }

  remove(room: string): void {
    const channel = this.#channelOf(room);
    const subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) return;
    this.#subscriptions.delete(channel);
    subscription.confirmed.reject(away());
    if (subscription.state !== 'lost') this.#enqueue('unsubscribe', subscription);
  }

  /** A message came on this channel. Returns its room, or undefined if nobody wants it any more. */
  receive(channel: string): string | undefined {
    const subscription = this.#subscriptions.get(channel);
    if (subscription === undefined) return undefined;
    // It may come before the answer to SUBSCRIBE, or after that was given up: it is subscribed, and can get lost again.
    subscription.state = 'live';
    if (subscription.interrupted) this.#restored(subscription);
    return subscription.room;
  }

  /** The connection is gone: what was subscribed is not any more. */
  lost(): void {
    this.#connected = false;
    this.#waiting = [];
    for (const subscription of this.#subscriptions.values()) lose(subscription);
  }

  /** The connection is new: subscribes everything again. */
  restore(): void {
    this.#connected = true;
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.state === 'lost') this.#begin(subscription);
    }
  }

  close(): void {
    this.lost();
    this.#subscriptions.clear();
  }

  #begin(subscription: Subscription): void {
    subscription.attempt++;
    subscription.state = 'subscribing';
    subscription.confirmed = deferred();
    this.#enqueue('subscribe', subscription);
  }

  #enqueue(verb: Command['verb'], subscription: Subscription): void {
    if (this.#waiting.length === 0) setImmediate(() => this.#write());
    const entry = { subscription, attempt: subscription.attempt };
    const last = this.#waiting.at(-1);
    if (last?.verb === verb && last.subscriptions.length < channelsPerCommand) last.subscriptions.push(entry);
    else this.#waiting.push({ verb, subscriptions: [entry] });
  }

  #write(): void {
    const commands = this.#waiting;
    this.#waiting = [];
    for (const { verb, subscriptions } of commands) {
      const channels = subscriptions.map(({ subscription }) => subscription.channel);
      // A failed UNSUBSCRIBE leaves a channel whose messages `receive` ignores, until the next connection.
      if (verb === 'unsubscribe') this.#commands.unsubscribe(channels).catch(() => undefined);
      else this.#subscribe(channels, subscriptions);
    }
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
        }
      },
      (error: Error) => {
        for (const subscription of current()) lose(subscription);
        this.#onFailed(error);
      },
    );
  }

  #restored(subscription: Subscription): void {
    subscription.interrupted = false;
    this.onRestored(subscription.room);
  }
}

function lose(subscription: Subscription): void {
  if (subscription.state === 'live') subscription.interrupted = true;
  subscription.state = 'lost';
  subscription.confirmed.reject(away());
}
