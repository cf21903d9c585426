/**
 * A topic of Kafka as a source. The only file that imports kafkajs; it is loaded with the first such input.
 *
 * All nodes are one consumer group, which gives each partition to one of them. An offset is committed when all messages before it
 * are published or parked. A partition that is taken away is left at once; its next reader begins at the last offset committed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Admin,
  type Consumer,
  type EachBatchPayload,
  Kafka,
  type KafkaMessage,
  logLevel,
  type Producer,
  type SASLOptions,
} from 'kafkajs';
import { truncate } from '../telemetry/log.ts';
import { Poison, type SourceMessage } from './message.ts';
import { closeMs, type Source, type SourceParts } from './source.ts';

export interface TopicSettings {
  kind: 'kafka';
  name: string;
  /** `host:port`. */
  brokers: string[];
  topic: string;
  group: string;
  /** The topic of messages that cannot be published. */
  parking: string;
  tls: boolean;
  sasl: SASLOptions | undefined;
}

/** A node that was killed is out of the group after this. */
const sessionMs = 6_000;
const heartbeatMs = 1_000;
/** Between two attempts after a failure that the library gives up on. */
const retryMs = 2_000;
/** Between two questions for the lag. */
const lagMs = 5_000;
/** Partitions of this node that are read at the same time; each has `most` messages under way. */
const partitionsAtOnce = 8;
/** Of one answer of a broker, which has at least one message; and of one partition in it. */
const maxFetchBytes = 8_388_608;
const maxPartitionBytes = 1_048_576;

export class TopicSource implements Source {
  readonly #settings: TopicSettings;
  readonly #parts: SourceParts;
  readonly #consumer: Consumer;
  readonly #producer: Producer;
  readonly #admin: Admin;
  #timer: NodeJS.Timeout | undefined;
  /** Of this node. */
  #partitions: readonly number[] = [];
  #lag = 0;
  #ending = false;

  constructor(settings: TopicSettings, parts: SourceParts) {
    this.#settings = settings;
    this.#parts = parts;
    const { brokers, group, sasl, tls } = settings;
    const kafka = new Kafka({
      clientId: 'roomcast',
      brokers,
      ssl: tls,
      ...(sasl === undefined ? {} : { sasl }),
      connectionTimeout: 2_000,
      retry: { initialRetryTime: 100, maxRetryTime: retryMs },
      logLevel: logLevel.ERROR,
      logCreator:
        () =>
        ({ log: { message, error } }) =>
          this.#tell(`${message} ${error ?? ''}`.trim(), 'the library for Kafka reports an error'),
    });
    this.#consumer = kafka.consumer({
      groupId: group,
      sessionTimeout: sessionMs,
      heartbeatInterval: heartbeatMs,
      rebalanceTimeout: sessionMs,
      maxWaitTimeInMs: 500,
      maxBytes: maxFetchBytes,
      maxBytesPerPartition: maxPartitionBytes,
      allowAutoTopicCreation: false,
    });
    this.#producer = kafka.producer();
    this.#admin = kafka.admin();
  }

  get lag(): number {
    return this.#lag;
  }

  start(): void {
    const { CRASH, GROUP_JOIN } = this.#consumer.events;
    this.#consumer.on(GROUP_JOIN, ({ payload: { memberAssignment } }) => {
      this.#partitions = memberAssignment[this.#settings.topic] ?? [];
      this.#parts.log.info({ input: this.#parts.name, partitions: this.#partitions }, 'this node reads partitions');
      void this.#askLag();
    });
    this.#consumer.on(CRASH, ({ payload: { error, restart } }) => {
      this.#partitions = [];
      this.#tell(error.message, 'a topic cannot be read; it is tried again');
      // The library starts again by itself, but not after errors that it holds to be final.
      if (!restart) void this.#run(retryMs);
    });
    this.#timer = setInterval(() => void this.#askLag(), lagMs);
    void this.#run(0);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#ending = true;
    const parts = [this.#consumer, this.#producer, this.#admin];
    const left = Promise.all(parts.map((each) => each.disconnect()));
    // A broker that is away gives no answer to those who leave. It finds out by their silence.
    await Promise.race([left, delay(closeMs, undefined, { ref: false })]).catch((error: Error) => {
      this.#parts.log.warn(
        { input: this.#parts.name, reason: error.message },
        'leaving Kafka failed; others go on later',
      );
    });
  }

  /** Connects and reads, and tries again until that works. */
  async #run(afterMs: number): Promise<void> {
    await delay(afterMs);
    while (!this.#ending) {
      try {
        await Promise.all([this.#admin.connect(), this.#producer.connect(), this.#consumer.connect()]);
        if (this.#ending) return;
        await this.#consumer.subscribe({ topics: [this.#settings.topic], fromBeginning: true });
        if (this.#ending) return;
        await this.#consumer.run({
          autoCommit: false,
          eachBatchAutoResolve: false,
          partitionsConsumedConcurrently: partitionsAtOnce,
          eachBatch: (payload) => this.#readBatch(payload),
        });
        return;
      } catch (error) {
        this.#tell((error as Error).message, 'a topic cannot be read; it is tried again');
        await delay(retryMs);
      }
    }
  }

  /** Throws what `heartbeat` throws: the group is made anew, perhaps without this node. */
  async #readBatch(payload: EachBatchPayload): Promise<void> {
    const { batch, heartbeat, isRunning, isStale, resolveOffset, commitOffsetsIfNecessary, uncommittedOffsets } =
      payload;
    const { most } = this.#parts;
    let lost: unknown;
    const beating = setInterval(() => {
      heartbeat().catch((error: unknown) => {
        lost ??= error;
      });
    }, heartbeatMs);
    const mayGoOn = () => lost === undefined && !this.#ending && isRunning() && !isStale();
    try {
      for (let from = 0; from < batch.messages.length && mayGoOn(); from += most) {
        const slice = batch.messages.slice(from, from + most);
        const settled = await Promise.all(slice.map((message) => this.#take(batch.partition, message, mayGoOn)));
        const firstLeft = settled.indexOf(false);
        const last = slice[(firstLeft === -1 ? slice.length : firstLeft) - 1];
        if (last === undefined) break;
        resolveOffset(last.offset);
        await commitOffsetsIfNecessary(uncommittedOffsets());
      }
    } finally {
      clearInterval(beating);
    }
    if (lost !== undefined) throw lost;
  }

  /** True if the message is published or parked. */
  async #take(partition: number, message: KafkaMessage, mayGoOn: () => boolean): Promise<boolean> {
    const outcome = await this.#parts.intake.take(sourceMessage(this.#settings.name, partition, message), mayGoOn);
    return outcome instanceof Poison ? this.#park(partition, message, outcome, mayGoOn) : outcome === 'published';
  }

  async #park(partition: number, message: KafkaMessage, { reason }: Poison, mayGoOn: () => boolean): Promise<boolean> {
    const { key, value, headers, offset } = message;
    const told = { 'roomcast-reason': reason, 'roomcast-partition': `${partition}`, 'roomcast-offset': offset };
    let parked = { key, value, headers: { ...headers, ...told } };
    while (mayGoOn()) {
      try {
        await this.#producer.send({ topic: this.#settings.parking, messages: [parked] });
        return true;
      } catch (error) {
        // The topic takes less than that of the input: only where it is.
        if (isTooLarge(error) && parked.headers !== told) {
          parked = { key: null, value: null, headers: told };
          continue;
        }
        this.#tell((error as Error).message, 'a message of an input cannot be parked; it is tried again');
        await delay(retryMs);
      }
    }
    return false;
  }

  async #askLag(): Promise<void> {
    const { group: groupId, topic } = this.#settings;
    if (this.#partitions.length === 0) {
      this.#lag = 0;
      return;
    }
    try {
      const [ends, [committed]] = await Promise.all([
        this.#admin.fetchTopicOffsets(topic),
        this.#admin.fetchOffsets({ groupId, topics: [topic] }),
      ]);
      const mine = ends.filter(({ partition }) => this.#partitions.includes(partition));
      this.#lag = mine.reduce((sum, { high, low, partition }) => {
        const at = committed?.partitions.find((each) => each.partition === partition)?.offset ?? '-1';
        return sum + Number(high) - Math.max(Number(at), Number(low));
      }, 0);
    } catch (error) {
      this.#lag = Number.NaN;
      this.#tell((error as Error).message, 'the lag of a topic is not known');
    }
  }

  #tell(reason: string, what: string): void {
    const { log, name } = this.#parts;
    if (!this.#ending) log.warn({ input: name, reason: truncate(`${name}: ${reason}`) }, what);
  }
}

function isTooLarge(error: unknown): boolean {
  for (let each = error; each instanceof Error; each = each.cause) {
    if ((each as Error & { type?: string }).type === 'MESSAGE_TOO_LARGE') return true;
  }
  return false;
}

function sourceMessage(input: string, partition: number, { headers, offset, value }: KafkaMessage): SourceMessage {
  return {
    id: `${input}:${partition}:${offset}`,
    header: (name) => {
      const found = headers?.[name];
      // Kafka allows a header several times: the last one counts.
      return (Array.isArray(found) ? found.at(-1) : found)?.toString();
    },
    body: value ?? undefined,
  };
}
