/**
 * A tab whose page uses centrifuge-js, unmodified, as its package brings it for browsers: a member of one room that writes down what
 * it is told.
 *
 * Owns the page. A form of the protocol is a transport and an encoding, `http_stream protobuf`; all but WebSockets are used as
 * fallbacks only.
 */
import { fileURLToPath } from 'node:url';
import type { Centrifuge, Subscription } from 'centrifuge';
import type { BrowserContext, Page } from 'playwright-core';
import { everywhere } from '../integration/people.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';

export const forms = ['websocket json', 'websocket protobuf', 'http_stream json', 'http_stream protobuf', 'sse json'];

const build = (name: string) => fileURLToPath(new URL(`../../node_modules/centrifuge/dist/${name}`, import.meta.url));
const builds: Record<string, string> = { json: build('centrifuge.js'), protobuf: build('centrifuge.protobuf.js') };

export interface Told {
  transports: string[];
  /** Codes of the events. The first `connecting` is the call of `connect`. */
  connecting: number[];
  subscribed: { wasRecovering: boolean; recovered: boolean }[];
  unsubscribed: number[];
  publications: { offset: number | undefined; data: unknown }[];
}

/** What a page keeps for its test. */
interface Kept {
  Centrifuge: typeof Centrifuge;
  token(): Promise<string>;
  subscription: Subscription;
  told: Told;
  encode(value: unknown): unknown;
  decode(data: unknown): unknown;
}

interface Place {
  /** The page is on it. */
  origin: string;
  /** Host and port of nodes. */
  host: string;
  room: string;
  /** Seconds that each token is good for. */
  tokenSeconds?: number;
}

export class CentrifugoTab {
  readonly form: string;
  readonly page: Page;
  /** Tokens that were asked for. */
  tokens = 0;

  /** Connected, and a member of the room. */
  static async open(context: BrowserContext, form: string, place: Place): Promise<CentrifugoTab> {
    const tab = new CentrifugoTab(form, await context.newPage());
    const [transport = '', encoding = ''] = form.split(' ');
    await tab.page.exposeFunction('token', () => {
      tab.tokens++;
      const iat = Math.floor(Date.now() / 1000);
      return mintToken({ sub: form, rooms: everywhere, iat, exp: iat + (place.tokenSeconds ?? 3_600) });
    });
    await tab.page.goto(place.origin);
    await tab.page.addScriptTag({ path: builds[encoding] as string });
    await tab.#start({ ...place, transport, encoding });
    await until(async () => (await tab.told()).subscribed.length > 0, 15_000, `${form} has subscribed`);
    return tab;
  }

  private constructor(form: string, page: Page) {
    this.form = form;
    this.page = page;
  }

  #start(at: Place & { transport: string; encoding: string }): Promise<void> {
    return this.page.evaluate(({ host, room, transport, encoding }) => {
      const kept = globalThis as unknown as Kept;
      const told: Told = {
        ...{ transports: [], connecting: [], subscribed: [], unsubscribed: [], publications: [] },
      };
      const isBinary = encoding === 'protobuf';
      kept.encode = (value) => (isBinary ? new TextEncoder().encode(JSON.stringify(value)) : value);
      kept.decode = (data) => (isBinary ? JSON.parse(new TextDecoder().decode(data as Uint8Array)) : data);
      const socket = { transport: 'websocket' as const, endpoint: `ws://${host}/connection/websocket` };
      const fallback = { transport: transport as 'sse', endpoint: `http://${host}/connection/${transport}` };
      const client = new kept.Centrifuge(transport === 'websocket' ? [socket] : [socket, fallback], {
        getToken: () => kept.token(),
        emulationEndpoint: `http://${host}/emulation`,
        ...{ minReconnectDelay: 50, maxReconnectDelay: 300 },
      });
      client.on('connected', (event) => told.transports.push(event.transport));
      client.on('connecting', ({ code }) => told.connecting.push(code));
      const subscription = client.newSubscription(room);
      subscription.on('subscribed', ({ wasRecovering, recovered }) => {
        told.subscribed.push({ wasRecovering, recovered });
      });
      subscription.on('unsubscribed', ({ code }) => told.unsubscribed.push(code));
      subscription.on('publication', ({ offset, data }) => {
        told.publications.push({ offset, data: kept.decode(data) });
      });
      Object.assign(kept, { subscription, told });
      subscription.subscribe();
      client.connect();
    }, at);
  }

  told(): Promise<Told> {
    return this.page.evaluate(() => (globalThis as unknown as Kept).told);
  }

  async publish(data: unknown): Promise<void> {
    await this.page.evaluate(async (value) => {
      const { subscription, encode } = globalThis as unknown as Kept;
      await subscription.publish(encode(value));
    }, data);
  }

  /** The names of all users in the room, and their number. */
  presence(): Promise<{ users: string[]; count: number }> {
    return this.page.evaluate(async () => {
      const { subscription } = globalThis as unknown as Kept;
      const [{ clients }, { numUsers }] = await Promise.all([subscription.presence(), subscription.presenceStats()]);
      return { users: Object.values(clients).map(({ user }) => user), count: numUsers };
    });
  }

  /** The newest ones, newest first. */
  history(limit: number): Promise<unknown[]> {
    return this.page.evaluate(async (most) => {
      const { subscription, decode } = globalThis as unknown as Kept;
      const { publications } = await subscription.history({ limit: most, reverse: true });
      return publications.map(({ data }) => decode(data));
    }, limit);
  }

  /** Resolves with what was told once so many publications have come. */
  async have(count: number): Promise<Told> {
    const all = async () => (await this.told()).publications.length >= count;
    await until(all, 20_000, `${this.form} has ${count} publications`);
    return this.told();
  }
}
