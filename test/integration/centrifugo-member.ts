/**
 * Unmodified clients of Centrifugo (`centrifuge` from npm) for tests, and a raw WebSocket on the same endpoint.
 *
 * Owns their end, also when a test fails.
 */
import { Centrifuge, type Options, type PublicationContext, type Subscription } from 'centrifuge';
import type { Centrifuge as BinaryCentrifuge } from 'centrifuge/build/protobuf';
import { WebSocket } from 'ws';
import { onCleanup } from '../support/cleanup.ts';
import type { NodeSettings, StartedNode } from '../support/node.ts';
import { startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { roomsFile } from './files.ts';
import { tokenOf } from './people.ts';

const kept = { match: 'kept:*', history: {}, presence: true, joinLeave: true };

export function startCentrifugo(settings: NodeSettings = {}, ...rules: object[]): Promise<StartedNode> {
  return startNode({ CENTRIFUGO: true, ROOMS_FILE: roomsFile(...rules, kept), PUBLISH_RATE: 0, ...settings });
}

export function endpointOf({ url }: { url: string }): string {
  return url.replace('/ws', '/connection/websocket');
}

/** Not connected yet. It connects again quickly. */
export function clientOf(node: { url: string }, options: Partial<Options>): Centrifuge {
  const client = new Centrifuge(endpointOf(node), {
    websocket: WebSocket,
    minReconnectDelay: 20,
    maxReconnectDelay: 100,
    ...options,
  });
  onCleanup(() => client.disconnect());
  return client;
}

/** Connected, as this user. */
export async function connectAs(
  node: { url: string },
  user: string,
  options: Partial<Options> = {},
): Promise<Centrifuge> {
  const client = clientOf(node, { token: await tokenOf(user), ...options });
  client.connect();
  await client.ready(5_000);
  return client;
}

/** A subscription and what it heard. */
export interface Heard {
  subscription: Subscription;
  publications: PublicationContext[];
  /** The names of its events with their codes, such as `subscribing 2500`. */
  events: string[];
}

export function listen(client: Centrifuge | BinaryCentrifuge, room: string, options = {}): Heard {
  const subscription = client.newSubscription(room, options) as Subscription;
  const heard: Heard = { subscription, publications: [], events: [] };
  subscription.on('publication', (publication) => heard.publications.push(publication));
  subscription.on('subscribed', ({ wasRecovering, recovered }) => {
    heard.events.push(wasRecovering ? `subscribed, recovered: ${recovered}` : 'subscribed');
  });
  subscription.on('subscribing', ({ code }) => heard.events.push(`subscribing ${code}`));
  subscription.on('unsubscribed', ({ code }) => heard.events.push(`unsubscribed ${code}`));
  subscription.on('join', ({ info }) => heard.events.push(`join ${info.user}`));
  subscription.on('leave', ({ info }) => heard.events.push(`leave ${info.user}`));
  return heard;
}

export async function subscribe(client: Centrifuge | BinaryCentrifuge, room: string, options = {}): Promise<Heard> {
  const heard = listen(client, room, options);
  heard.subscription.subscribe();
  await heard.subscription.ready(5_000);
  return heard;
}

/** Resolves when so many publications have come. */
export async function have({ publications }: Heard, count: number): Promise<unknown[]> {
  await until(() => publications.length >= count, 5_000, `${count} publications come`);
  return publications.map(({ data }) => data);
}

/** A WebSocket of the endpoint without a client library. */
export class RawClient {
  /** Replies, each parsed. */
  readonly replies: Record<string, unknown>[] = [];
  /** `code reason` of the close frame. */
  closed: string | undefined;
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('close', (code, reason) => {
      this.closed = `${code} ${reason}`;
    });
    socket.on('message', (data) => {
      for (const line of String(data).split('\n')) this.replies.push(JSON.parse(line));
    });
  }

  static async open(node: { url: string }, protocols: string[] = []): Promise<RawClient> {
    const socket = new WebSocket(endpointOf(node), protocols);
    onCleanup(() => socket.terminate());
    const client = new RawClient(socket);
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
    return client;
  }

  /** Connected, as this user. */
  static async connect(node: { url: string }, user: string): Promise<RawClient> {
    const client = await RawClient.open(node);
    client.send(JSON.stringify({ id: 1, connect: { token: await tokenOf(user) } }));
    await client.answer(1);
    return client;
  }

  send(message: string | Buffer): void {
    this.#socket.send(message);
  }

  /** The reply to the command with this number. */
  answer(id: number): Promise<Record<string, unknown>> {
    const find = () => this.replies.find((reply) => reply.id === id);
    return until(() => find() as Record<string, unknown>, 5_000, `${id} is answered: ${JSON.stringify(this.replies)}`);
  }

  async end(): Promise<string> {
    await until(() => this.closed !== undefined, 5_000, 'the connection is closed');
    return this.closed ?? '';
  }
}
