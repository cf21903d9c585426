/**
 * Messages on their way into Redis: plain ones, and those that are kept (gateway/redis/history/queue.ts).
 *
 * Owns what is in flight, within bounds, and which plain rooms a former master may have been told of. It decides which
 * connection a message takes (gateway/redis/backplane.ts). It never knows subscriptions or canaries.
 */
import {
  BackplaneError,
  type HistoryPage,
  type HistoryQuery,
  type HistoryRule,
  maxPublishBytesInFlight,
  maxPublishesInFlight,
  maxReadsInFlight,
  type Publication,
  type Published,
} from '../backplane/backplane.ts';
import type { RedisConnection } from './connection/connection.ts';
import type { Words } from './connection/resp.ts';
import type { EnvelopeWriter } from './envelope.ts';
import type { HistoryQueue } from './history/queue.ts';
import type { RedisNames } from './names.ts';
import { readScript } from './script.ts';
import { UnconfirmedRooms } from './unconfirmed-rooms.ts';

/** Of the write probe. It needs every command that another message needs. */
const probeRule: HistoryRule = { size: 1, maxBytes: 1, ttlSeconds: 60 };

export const publishOnce = readScript('script.lua', 'publish.lua');

export interface WriterParts {
  names: RedisNames;
  pubsub: RedisConnection;
  history: RedisConnection;
  queue: HistoryQueue;
  envelopes: EnvelopeWriter;
  dedupeMs: number;
  /** A publish resolves when one replica has the message too. */
  replicated: boolean;
}

export class Writer {
  readonly #parts: WriterParts;
  readonly unconfirmed = new UnconfirmedRooms();
  #publishesInFlight = 0;
  #bytesInFlight = 0;
  #readsInFlight = 0;

  constructor(parts: WriterParts) {
    this.#parts = parts;
  }

  publish(publication: Publication): Promise<Published> {
    const bytes = Buffer.byteLength(publication.prefix) + Buffer.byteLength(publication.suffix);
    if (this.#publishesInFlight >= maxPublishesInFlight || this.#bytesInFlight + bytes > maxPublishBytesInFlight) {
      return Promise.reject(new BackplaneError('unavailable', 'too many publishes wait for Redis'));
    }
    this.#publishesInFlight++;
    this.#bytesInFlight += bytes;
    if (!this.#parts.replicated) return this.#write(publication, bytes);
    return this.#andReplicated(this.#write(publication, undefined)).finally(() => this.#settled(bytes));
  }

  async read(room: string, query: HistoryQuery): Promise<HistoryPage> {
    if (this.#readsInFlight >= maxReadsInFlight) {
      throw new BackplaneError('unavailable', 'too many reads wait for Redis');
    }
    this.#readsInFlight++;
    try {
      return await this.#parts.queue.read(room, query);
    } finally {
      this.#readsInFlight--;
    }
  }

  /** Keeps a message in a room of its own, named by these keys. It is published on a channel that ignores it. */
  probe(room: string, line: string, channel: string, node: string): Promise<unknown> {
    const { envelopes, queue, replicated } = this.#parts;
    const written = new Promise<unknown>((resolve, reject) => {
      const settle = (error: Error | undefined) => (error === undefined ? resolve(undefined) : reject(error));
      const publication = { room: '', prefix: '{"offset":', suffix: '}', at: Date.now() };
      const header = envelopes.historyHeader(publication);
      const dedupeKey = `${room}:key:${node}`;
      queue.probe({ publication, header, rule: probeRule, room, line, channel, dedupeKey, settle });
    });
    return replicated ? this.#andReplicated(written) : written;
  }

  /** All nodes tell the members of these rooms that messages may be missing. */
  tellGap(rooms: Iterable<string>): void {
    const { envelopes, names, pubsub } = this.#parts;
    for (const room of rooms) {
      pubsub.send(pubsub.publishing(names.channel(room), envelopes.gap(Date.now())), (error) => {
        if (error !== undefined) this.unconfirmed.add(room);
      });
    }
  }

  /** `bytes`: undefined if the publish is still in flight afterwards. */
  #settled(bytes: number | undefined): void {
    if (bytes === undefined) return;
    this.#publishesInFlight--;
    this.#bytesInFlight -= bytes;
  }

  /** `bytes`: for `#settled`. Hot path: one promise and one closure for each message, over no more than it uses. */
  #write(publication: Publication, bytes: number | undefined): Promise<Published> {
    return publication.history === undefined
      ? this.#publish(publication, bytes)
      : this.#keep(publication, publication.history, bytes);
  }

  #keep(publication: Publication, rule: HistoryRule, bytes: number | undefined): Promise<Published> {
    const { names, queue, envelopes } = this.#parts;
    const { room } = publication;
    const header = envelopes.historyHeader(publication);
    const keys = names.room(room);
    const line = names.line(room);
    const channel = names.channel(room);
    const dedupeKey = this.#dedupeKey(publication);
    return new Promise((resolve, reject) => {
      const settle = (error: Error | undefined, published: Published | undefined) => {
        this.#settled(bytes);
        if (published === undefined) reject(error);
        else resolve(published);
      };
      queue.add({ publication, header, rule, room: keys, line, channel, dedupeKey, settle });
    });
  }

  #publish(publication: Publication, bytes: number | undefined): Promise<Published> {
    const { history, pubsub, replicated } = this.#parts;
    // WAIT counts the writes of its own connection only.
    const connection = replicated ? history : pubsub;
    const dedupeKey = this.#dedupeKey(publication);
    // With a key it is a write: a replica refuses it.
    if (dedupeKey === undefined) this.unconfirmed.add(publication.room);
    const words = this.#publishing(connection, publication, dedupeKey);
    const hasKey = dedupeKey !== undefined;
    return new Promise((resolve, reject) => {
      connection.send(words, (error, reply) => {
        this.#settled(bytes);
        if (error === undefined) resolve({ duplicate: hasKey && reply === 0 });
        else reject(error);
      });
    });
  }

  #dedupeKey({ room, dedupe }: Publication): string | undefined {
    if (dedupe === undefined) return undefined;
    return `${this.#parts.names.room(room)}:key:${JSON.stringify([dedupe.by, dedupe.key])}`;
  }

  #publishing(connection: RedisConnection, publication: Publication, dedupeKey: string | undefined): Words {
    const { dedupeMs, envelopes, names } = this.#parts;
    const channel = names.channel(publication.room);
    const envelope = connection.server.mark + envelopes.message(publication);
    return dedupeKey === undefined
      ? connection.publishing(channel, envelope)
      : connection.evaluation(publishOnce, [dedupeKey], [dedupeMs, channel, envelope]);
  }

  #andReplicated<Result>(written: Promise<Result>): Promise<Result> {
    return Promise.all([written, this.#parts.queue.replicated()]).then(([result]) => result);
  }
}
