/**
 * A queue of RabbitMQ as a source. The only file that imports rabbitmq-client; it is loaded with the first such input.
 *
 * Every node has a consumer; the queue has a single active one (`x-single-active-consumer`), so one node reads and order holds.
 * (Exclusive consumers would not do: quorum queues do not enforce them.) A consumer that ends never cancels first: the broker would
 * give later messages to another node while earlier ones are under way here. It ends the connection, which puts all that is not
 * acknowledged back in its place, in one step.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { type AsyncMessage, Connection, ConsumerStatus } from 'rabbitmq-client';
import { truncate } from '../telemetry/log.ts';
import { Poison, type SourceMessage } from './message.ts';
import { closeMs, type Source, type SourceParts } from './source.ts';

export interface QueueSettings {
  kind: 'rabbitmq';
  name: string;
  /** May hold a password. */
  url: string;
  queue: string;
  /** Of the queue, besides the single active consumer; they have to be those that it has. */
  arguments: Record<string, string | number | boolean>;
}

/** Between two attempts to connect: from the first to the last of these. */
const fastestRetryMs = 250;
const slowestRetryMs = 3_000;
/** A broker that is silent for two of these is gone. */
const heartbeatSeconds = 5;
/** Between two questions for the length of the queue. */
const lagMs = 5_000;
/** Between two looks whether all that was under way has ended. */
const endingMs = 20;

export class QueueSource implements Source {
  readonly #settings: QueueSettings;
  readonly #parts: SourceParts;
  #connection: Connection | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** A message has come on this connection, so this node has the active consumer. */
  #reads = false;
  #waiting = 0;
  #underWay = 0;
  #ending = false;
  /** Counts connections. What came on an earlier one has gone to another node. */
  #life = 0;

  constructor(settings: QueueSettings, parts: SourceParts) {
    this.#settings = settings;
    this.#parts = parts;
  }

  get lag(): number {
    return this.#reads ? this.#waiting + this.#underWay : 0;
  }

  start(): void {
    const { arguments: more, queue, url } = this.#settings;
    this.#connection = new Connection({
      url,
      connectionName: `roomcast:inputs:${this.#parts.instance}`,
      heartbeat: heartbeatSeconds,
      retryLow: fastestRetryMs,
      retryHigh: slowestRetryMs,
    });
    this.#connection.on('error', (error: Error) => {
      this.#life++;
      this.#lost(error);
    });
    const consumer = this.#connection.createConsumer(
      {
        queue,
        queueOptions: { durable: true, arguments: { ...more, 'x-single-active-consumer': true } },
        qos: { prefetchCount: this.#parts.most },
      },
      (message) => this.#take(message),
    );
    consumer.on('error', (error: Error) => this.#lost(error));
    this.#timer = setInterval(() => void this.#askLength(), lagMs);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#ending = true;
    const until = performance.now() + closeMs;
    while (this.#underWay > 0 && performance.now() < until) await delay(endingMs);
    // Acknowledgements that are lost here cost a duplicate, which the key makes known.
    this.#connection?.unsafeDestroy();
  }

  async #take(message: AsyncMessage): Promise<ConsumerStatus> {
    if (!this.#reads) this.#parts.log.info({ input: this.#parts.name }, 'this node reads the queue');
    this.#reads = true;
    this.#underWay++;
    const life = this.#life;
    const mayGoOn = () => !this.#ending && life === this.#life;
    const outcome = await this.#parts.intake.take(sourceMessage(this.#settings.name, message), mayGoOn);
    this.#underWay--;
    if (outcome === 'published') return ConsumerStatus.ACK;
    if (outcome instanceof Poison) return ConsumerStatus.DROP;
    // Its connection has ended; the library waits for this before it consumes on the next one.
    if (!this.#ending) return ConsumerStatus.REQUEUE;
    // The end of the connection puts it back, in its place and with those behind it.
    return new Promise(() => undefined);
  }

  async #askLength(): Promise<void> {
    if (!this.#reads || this.#connection === undefined) return;
    try {
      const { messageCount } = await this.#connection.queueDeclare({ queue: this.#settings.queue, passive: true });
      this.#waiting = messageCount;
    } catch (error) {
      this.#waiting = Number.NaN;
      this.#tell(error as Error, 'the length of a queue is not known');
    }
  }

  /** The library connects again by itself. */
  #lost(error: Error): void {
    if (this.#ending) return;
    this.#reads = false;
    this.#tell(error, 'a queue cannot be read; it is tried again');
  }

  #tell({ message }: Error, what: string): void {
    const { log, name } = this.#parts;
    log.warn({ input: name, reason: truncate(`${name}: ${message}`) }, what);
  }
}

/** Properties of a message that count as headers too, by their names in AMQP. */
const properties = {
  'message-id': 'messageId',
  'correlation-id': 'correlationId',
  'app-id': 'appId',
  'user-id': 'userId',
  'routing-key': 'routingKey',
  exchange: 'exchange',
  type: 'type',
} as const;

function sourceMessage(input: string, message: AsyncMessage): SourceMessage {
  const { headers, messageId } = message;
  return {
    id: messageId === undefined ? undefined : `${input}:${messageId}`,
    header: (name) => {
      const value: unknown =
        headers?.[name] ?? (name in properties ? message[properties[name as keyof typeof properties]] : undefined);
      return typeof value === 'string' || typeof value === 'number' || Buffer.isBuffer(value) ? `${value}` : undefined;
    },
    body: bodyOf(message),
  };
}

/** The library has parsed what says that it is JSON, and made text of what says that it is text. */
function bodyOf({ body, contentEncoding, contentType }: AsyncMessage): Buffer {
  if (Buffer.isBuffer(body)) return body;
  if (contentType === 'application/json' && !contentEncoding) return Buffer.from(JSON.stringify(body));
  return Buffer.from(String(body));
}
