/**
 * gateway/redis/subscriptions.ts against a naive model of Redis and of what rooms are promised, with random interleavings of
 * joining, leaving, publishing, slow or failing answers, and lost connections.
 *
 * The promise, in the model: once `add` resolved, each message that follows is either delivered, or a notice comes before
 * the next one that is; no notice without an interruption; nothing for a room that was left.
 */
import { expect, test } from 'vitest';
import { Subscriptions } from '../../../gateway/redis/subscriptions.ts';
import { Random } from '../random.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

interface Command {
  verb: 'subscribe' | 'unsubscribe';
  channels: string[];
  resolve(): void;
  reject(error: Error): void;
  timedOut: boolean;
}

/** What a room was promised since it was last entered. */
interface Entered {
  confirmed: boolean;
  /** The number of the next message, if none is missed. */
  expected: number;
  noticed: boolean;
  lossesUntold: number;
}

const channelOf = (room: string) => `rc:{${room}}`;

class World {
  readonly random: Random;
  readonly log: string[] = [];
  readonly subscriptions: Subscriptions;
  readonly rooms = ['a', 'b', 'c', 'd'];
  readonly entered = new Map<string, Entered>();
  readonly published = new Map<string, number>();
  /** Of the connection that is open now. */
  commands: Command[] = [];
  /** Channels as the server sees them. */
  serving = new Set<string>();
  connected = true;
  /** A command failed: the connection is about to be made anew. */
  breaking = false;
  delivered = 0;
  notices = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
    const send = (verb: Command['verb']) => (channels: string[]) =>
      new Promise<void>((resolve, reject) => {
        if (!this.connected) this.fail(`${verb} was written without a connection`);
        const command: Command = { verb, channels, resolve, reject, timedOut: false };
        command.reject = (error) => {
          command.timedOut = true;
          reject(error);
        };
        this.commands.push(command);
      });
    this.subscriptions = new Subscriptions(
      channelOf,
      {
        subscribe: send('subscribe'),
        unsubscribe: (channels, done) => {
          send('unsubscribe')(channels).then(done, done);
        },
      },
      () => {
        this.breaking = true;
      },
    );
    this.subscriptions.onRestored = (room) => this.notice(room);
    this.subscriptions.restore();
  }

  fail(what: string): never {
    return expect.fail(`${what} after: ${this.log.slice(-40).join(', ')}`);
  }

  add(room: string): void {
    const entered = this.entered.get(room) ?? { confirmed: false, expected: 0, noticed: false, lossesUntold: 0 };
    this.entered.set(room, entered);
    this.subscriptions.add(room).then(
      () => {
        if (entered.confirmed) return;
        entered.confirmed = true;
        entered.expected = this.lastOf(room) + 1;
      },
      (error: { code?: string }) => error.code === 'unavailable' || this.fail('another error than unavailable'),
    );
  }

  remove(room: string): void {
    this.entered.delete(room);
    this.subscriptions.remove(room);
  }

  lastOf(room: string): number {
    return this.published.get(room) ?? 0;
  }

  publish(room: string): void {
    const number = this.lastOf(room) + 1;
    this.published.set(room, number);
    const channel = channelOf(room);
    if (!this.connected || !this.serving.has(channel)) return;
    const taken = this.subscriptions.receive(channel);
    if (taken === undefined) return;
    const entered = this.entered.get(room);
    if (taken !== room || entered === undefined) this.fail(`${room} ${number} came to ${taken}, which was left`);
    this.delivered += 1;
    if (entered.confirmed && number !== entered.expected && !entered.noticed) {
      this.fail(`${room} got ${number} instead of ${entered.expected} without a notice`);
    }
    entered.expected = number + 1;
    entered.noticed = false;
  }

  notice(room: string): void {
    const entered = this.entered.get(room);
    if (entered === undefined) this.fail(`a notice for ${room}, which was left`);
    if (entered.lossesUntold === 0) this.fail(`a notice for ${room} without an interruption`);
    entered.lossesUntold = 0;
    entered.noticed = true;
    this.notices += 1;
  }

  /** The server takes the next command and answers, if anybody still waits for that. */
  serve(): void {
    const command = this.commands.shift();
    if (command === undefined) return;
    this.#obey(command);
    // In the same chunk of bytes there may be messages already.
    if (this.random.chance(0.3)) this.publish(this.random.pick(this.rooms));
  }

  /** The answer to the next command does not come in time. The server obeys it later all the same. */
  timeOut(): void {
    this.commands.find(({ timedOut }) => !timedOut)?.reject(new Error('command timed out'));
  }

  #obey({ verb, channels, resolve }: Command): void {
    for (const channel of channels) this.serving[verb === 'subscribe' ? 'add' : 'delete'](channel);
    resolve();
  }

  lose(): void {
    if (!this.connected) return;
    this.connected = false;
    this.breaking = false;
    this.serving.clear();
    const [...unanswered] = this.commands;
    this.commands = [];
    for (const entered of this.entered.values()) entered.lossesUntold += 1;
    this.subscriptions.lost();
    for (const { reject } of unanswered) reject(new Error('connection is closed'));
  }

  restore(): void {
    if (this.connected) return;
    this.connected = true;
    this.subscriptions.restore();
  }

  async step(): Promise<void> {
    const room = this.random.pick(this.rooms);
    const actions: [weight: number, name: string, act: () => unknown][] = [
      [20, `add ${room}`, () => this.add(room)],
      [8, `remove ${room}`, () => this.remove(room)],
      [35, `publish ${room}`, () => this.publish(room)],
      [20, 'serve', () => this.serve()],
      [2, 'time out', () => this.timeOut()],
      [20, 'turn', turn],
      [this.breaking ? 40 : 4, 'lose', () => this.lose()],
      [this.connected ? 0 : 30, 'restore', () => this.restore()],
    ];
    let at = this.random.next() * actions.reduce((sum, [weight]) => sum + weight, 0);
    const action = actions.find(([weight]) => {
      at -= weight;
      return at < 0;
    });
    if (action === undefined) return;
    this.log.push(action[1]);
    await action[2]();
    // Lets everything that was just settled take effect.
    for (let tick = 0; tick < 6; tick++) await null;
  }

  /** Everything is answered, and each room gets one more message. */
  async settle(): Promise<void> {
    if (this.breaking) this.lose();
    this.restore();
    do {
      await turn();
      for (const command of this.commands.splice(0)) this.#obey(command);
      await turn();
    } while (this.commands.length > 0);
    const wanted = [...this.entered.keys()].map((room) => channelOf(room));
    expect([...this.serving].sort(), this.log.join(', ')).toEqual(wanted.sort());
    const before = this.delivered;
    for (const room of this.entered.keys()) this.publish(room);
    expect(this.delivered).toBe(before + this.entered.size);
  }
}

test('nothing is lost without a notice, and the server ends up with exactly the rooms that are wanted (300 runs)', async () => {
  let [delivered, notices] = [0, 0];
  for (let seed = 100; seed < 400; seed++) {
    const world = new World(seed);
    for (let step = 0; step < 150; step++) await world.step();
    await world.settle();
    delivered += world.delivered;
    notices += world.notices;
  }
  // The runs reached what they are about.
  expect(delivered).toBeGreaterThan(3_000);
  expect(notices).toBeGreaterThan(300);
});
