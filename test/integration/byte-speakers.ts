/**
 * How members of each dialect send and get a message of bytes: natively in JSON, in MessagePack, by an event stream and by long
 * polls, and with the unmodified SDK of Centrifugo in both of its forms.
 *
 * Owns the clients. What comes is kept as a digest, or as a line that says what came in its place.
 */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Centrifuge, type PublicationContext, type Subscription } from 'centrifuge';
import { Centrifuge as BinaryCentrifuge } from 'centrifuge/build/protobuf';
import { WebSocket } from 'ws';
import { binary } from '../../shared/client/binary.ts';
import { connect, type Room } from '../../shared/client/client.ts';
import type { Position } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { EventStream } from '../support/event-stream.ts';
import { beginPoll, type PollAnswer, poll, positionOf } from '../support/poll.ts';
import { endpointOf } from './centrifugo-member.ts';
import { tokenOf } from './people.ts';

export type Node = { url: string; port: number };

export interface Speaker {
  /** Digests of what comes, in order; grows. With `since` also what came behind it. Resolves when the member is in the room. */
  listen(node: Node, user: string, room: string, since?: Position): Promise<string[]>;
  /** Enters; resolves with what publishes to the room, each once it is acknowledged. */
  publisher?(node: Node, user: string, room: string): Promise<(bytes: Uint8Array) => Promise<unknown>>;
  /** Digests of all that the room keeps. */
  history?(node: Node, user: string, room: string): Promise<string[]>;
}

export function digest(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('base64');
}

function digestOfJson(data: unknown): string {
  const bytes = (data as { $bytes?: unknown } | null)?.$bytes;
  return typeof bytes === 'string' ? digest(Buffer.from(bytes, 'base64')) : `no $bytes: ${JSON.stringify(data)}`;
}

function digestOfBytes(data: unknown): string {
  return data instanceof Uint8Array ? digest(data) : `no bytes: ${JSON.stringify(data)}`;
}

const asJson = (bytes: Uint8Array) => ({ $bytes: Buffer.from(bytes).toString('base64') });
const asBytes = (bytes: Uint8Array) => bytes;

/** The client library, in JSON or in MessagePack. */
function native(options: object, digestOf: (data: unknown) => string, encode: (bytes: Uint8Array) => unknown): Speaker {
  const roomOf = (node: Node, user: string, name: string, since?: Position): Room => {
    const client = connect(node.url, { WebSocket, getToken: () => tokenOf(user), ...options });
    onCleanup(() => client.close());
    return client.room(name, { since });
  };
  return {
    async listen(node, user, name, since) {
      const room = roomOf(node, user, name, since);
      const heard: string[] = [];
      room.on('message', ({ data }) => heard.push(digestOf(data)));
      // Without a message missing, `join` and `leave` may be (count 0).
      room.on('gap', ({ reason, count }) => count === 0 || heard.push(`a gap: ${reason}`));
      await room.subscribe();
      return heard;
    },
    async publisher(node, user, name) {
      const room = roomOf(node, user, name);
      return (bytes) => room.publish(encode(bytes));
    },
    async history(node, user, name) {
      const room = roomOf(node, user, name);
      await room.subscribe();
      const all: string[] = [];
      for (let after: number | undefined = 0; after !== undefined; ) {
        const page = await room.history({ after, limit: 1000 });
        all.push(...page.messages.map(({ data }) => digestOf(data)));
        after = page.more ? page.messages.at(-1)?.offset : undefined;
      }
      return all;
    },
  };
}

/** The SDK of Centrifugo, in JSON or in Protobuf. */
function centrifugo(
  Client: typeof Centrifuge | typeof BinaryCentrifuge,
  digestOf: (data: unknown) => string,
  encode: (bytes: Uint8Array) => unknown,
): Speaker {
  const enter = async (node: Node, user: string, room: string, since?: Position) => {
    const client = new Client(endpointOf(node), { websocket: WebSocket, token: await tokenOf(user), timeout: 60_000 });
    onCleanup(() => client.disconnect());
    client.connect();
    return client.newSubscription(room, { since: since ?? null }) as Subscription;
  };
  const join = async (subscription: Subscription) => {
    subscription.subscribe();
    await subscription.ready();
    return subscription;
  };
  return {
    async listen(node, user, room, since) {
      const subscription = await enter(node, user, room, since);
      const heard: string[] = [];
      subscription.on('publication', ({ data }: PublicationContext) => heard.push(digestOf(data)));
      subscription.on('subscribed', ({ wasRecovering, recovered }) => {
        if (wasRecovering && !recovered) heard.push('messages are missing');
      });
      subscription.on('unsubscribed', ({ code }) => heard.push(`unsubscribed: ${code}`));
      await join(subscription);
      return heard;
    },
    async publisher(node, user, room) {
      const subscription = await join(await enter(node, user, room));
      return (bytes) => subscription.publish(encode(bytes));
    },
    async history(node, user, room) {
      const subscription = await join(await enter(node, user, room));
      const { epoch } = await subscription.history({ limit: 0 });
      const all: string[] = [];
      for (let offset = 0; ; ) {
        const { publications } = await subscription.history({ since: { epoch, offset }, limit: 300 });
        all.push(...publications.map(({ data }) => digestOf(data)));
        const last = publications.at(-1)?.offset;
        if (last === undefined) return all;
        offset = last;
      }
    },
  };
}

const asText = ({ epoch, offset }: Position) => `${epoch}:${offset}`;

const eventStream: Speaker = {
  async listen(node, user, room, since) {
    const heard: string[] = [];
    await EventStream.open(node, room, {
      token: await tokenOf(user),
      since: since && asText(since),
      onMessage: ({ data }) => heard.push(digestOfJson(data)),
    });
    return heard;
  },
};

const longPolls: Speaker = {
  async listen(node, user, room, since) {
    const heard: string[] = [];
    const token = await tokenOf(user);
    let goesOn = true;
    onCleanup(() => {
      goesOn = false;
    });
    const start = since === undefined ? positionOf(await poll(node, room, { token })) : asText(since);
    const follow = async () => {
      for (let position = start; goesOn; ) {
        const { status, headers, text } = await beginPoll(node, room, { token, since: position, wait: 1 }).answer;
        if (status === 503) {
          // Costs no message, says docs/http-fallback.md: the node lost its connection to Redis, and asks it anew.
          await delay(1000 * Number(headers['retry-after'] ?? 0.1));
          continue;
        }
        if (status !== 200) throw new Error(`the poll was answered by ${status}: ${text}`);
        const answer = JSON.parse(text) as PollAnswer;
        heard.push(...answer.messages.map(({ data }) => digestOfJson(data)));
        if (answer.recovered !== true || answer.gap !== undefined) heard.push('messages are missing');
        position = positionOf(answer);
      }
    };
    follow().catch((error: Error) => goesOn && heard.push(error.message));
    return heard;
  },
};

export const speakers: Readonly<Record<string, Speaker>> = {
  json: native({}, digestOfJson, asJson),
  msgpack: native({ binary }, digestOfBytes, asBytes),
  'centrifugo json': centrifugo(Centrifuge, digestOfJson, asJson),
  'centrifugo protobuf': centrifugo(BinaryCentrifuge, digestOfBytes, asBytes),
  'event stream': eventStream,
  'long polls': longPolls,
};
