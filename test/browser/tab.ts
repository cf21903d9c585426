/**
 * A tab whose page uses the client library: it follows rooms, writes down what it is told, and publishes numbers.
 *
 * Owns the page. Waits of the backoff are a matter of test/unit/client; here they are short.
 */
import type { BrowserContext, Page } from 'playwright-core';
import type { Client, connect, Options, Room } from '../../shared/client/client.ts';
import type { fallback } from '../../shared/client/fallback/fallback.ts';
import { everywhere, randomRoom } from '../integration/people.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { serveApplication } from './application.ts';

export interface Told {
  state: Room['state'];
  numbers: number[];
  gaps: string[];
}

/** What a page keeps for its test. */
interface Kept {
  connect: typeof connect;
  fallback: typeof fallback;
  token(): Promise<string>;
  client: Client;
  states: string[];
  rooms: Record<string, { room: Room; numbers: number[]; gaps: string[] }>;
  publishing: { isOver: boolean; done: Promise<number[]> };
}

const script = `
  import { connect } from 'roomcast/client';
  import { fallback } from 'roomcast/client/fallback';
  Object.assign(globalThis, { connect, fallback });
`;

export const application = () => serveApplication(script);

export interface TabOptions {
  withFallback?: boolean;
  /** Seconds that each token is good for. */
  tokenSeconds?: number;
  /** Of all random numbers on the page: all waits of the library are a part of their bound. */
  random?: number;
}

export class Tab {
  readonly page: Page;
  readonly user: string;
  /** Tokens that were asked for. */
  tokens = 0;

  /** On the page at `url`, with a client for `node`. */
  static async open(context: BrowserContext, url: string, node: string, options: TabOptions = {}): Promise<Tab> {
    const tab = new Tab(await context.newPage(), randomRoom('user'));
    const { page } = tab;
    const { tokenSeconds = 3_600, random = 0.02, withFallback = false } = options;
    await page.exposeFunction('token', () => {
      tab.tokens++;
      const iat = Math.floor(Date.now() / 1000);
      return mintToken({ sub: tab.user, rooms: everywhere, iat, exp: iat + tokenSeconds });
    });
    await page.addInitScript((value) => {
      Math.random = () => value;
    }, random);
    await page.goto(url);
    await tab.connect(node, withFallback);
    return tab;
  }

  private constructor(page: Page, user: string) {
    this.page = page;
    this.user = user;
  }

  async connect(node: string, withFallback = false): Promise<void> {
    await this.page.waitForFunction(() => 'connect' in globalThis);
    await this.page.evaluate(
      ({ url, isAllowed }) => {
        const kept = globalThis as unknown as Kept;
        const options: Options = { getToken: () => kept.token(), ...(isAllowed ? { fallback: kept.fallback } : {}) };
        const client = kept.connect(url, options);
        Object.assign(kept, { client, states: [], rooms: {} });
        client.on('state', (state) => kept.states.push(state));
      },
      { url: node, isAllowed: withFallback },
    );
  }

  /** Enters a room, from the position that the page saved if there is one. */
  follow(name: string): Promise<void> {
    return this.page.evaluate((roomName) => {
      const kept = globalThis as unknown as Kept & { sessionStorage: Record<string, string> };
      const since = JSON.parse(kept.sessionStorage[roomName] ?? 'null') ?? undefined;
      const room = kept.client.room(roomName, { since });
      const told = { room, numbers: [] as number[], gaps: [] as string[] };
      kept.rooms[roomName] = told;
      room.on('message', ({ data }) => {
        told.numbers.push(data as number);
        kept.sessionStorage[roomName] = JSON.stringify(room.position ?? null);
      });
      // Without a message missing, `join` and `leave` may be (count 0).
      room.on('gap', ({ reason, count }) => count === 0 || told.gaps.push(reason));
      return room.subscribe();
    }, name);
  }

  told(name: string): Promise<Told> {
    return this.page.evaluate((roomName) => {
      const { room, numbers, gaps } = (globalThis as unknown as Kept).rooms[roomName] as Kept['rooms'][string];
      return { state: room.state, numbers, gaps };
    }, name);
  }

  client(): Promise<{ state: string; transport?: string; connection?: string; states: string[] }> {
    return this.page.evaluate(() => {
      const { client, states } = globalThis as unknown as Kept;
      const { state, transport, connection } = client;
      return { state, ...(transport && { transport }), ...(connection && { connection }), states };
    });
  }

  publish(name: string, data: number): Promise<unknown> {
    return this.page.evaluate(
      ([roomName, number]) => (globalThis as unknown as Kept).client.room(roomName as string).publish(number),
      [name, data],
    );
  }

  /** Publishes `from`, `from + step`, ..., each behind the `ok` of the one before, until `publishedAll`. */
  publishing(name: string, from: number, step: number): Promise<void> {
    return this.page.evaluate(
      ([roomName, first, by]) => {
        const kept = globalThis as unknown as Kept;
        const publishing = { isOver: false, done: Promise.resolve([] as number[]) };
        publishing.done = (async () => {
          const numbers: number[] = [];
          while (!publishing.isOver) {
            const number = Number(first) + numbers.length * Number(by);
            await kept.client.room(roomName as string).publish(number);
            numbers.push(number);
            await new Promise((resolve) => setTimeout(resolve, 10));
          }
          return numbers;
        })();
        kept.publishing = publishing;
      },
      [name, from, step],
    );
  }

  publishedAll(): Promise<number[]> {
    return this.page.evaluate(() => {
      const { publishing } = globalThis as unknown as Kept;
      publishing.isOver = true;
      return publishing.done;
    });
  }

  /** As the browser tells a page when it is online again. */
  async networkReturns(): Promise<void> {
    await this.page.evaluate("dispatchEvent(new Event('online'))");
  }

  /** Resolves with what was told once so many messages have come. */
  async heard(name: string, count: number, deadlineMs = 15_000): Promise<Told> {
    await until(async () => (await this.told(name)).numbers.length >= count, deadlineMs, `${count} messages have come`);
    return this.told(name);
  }
}
