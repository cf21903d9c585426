/**
 * Inputs: what backends put into streams and queues, published to rooms. Puts the parts together; without GATEWAY_INPUTS_FILE there
 * is none of this, and no client library of a broker is loaded.
 *
 *     a source (stream-source.ts, …) ──► intake.ts ──► message.ts, place.ts ──► operations/publish.ts
 */
import type { BackendMetrics } from '../telemetry/backend-metrics.ts';
import type { InputSettings } from './inputs-file.ts';
import { Intake, type IntakeParts } from './intake.ts';
import { mostUnderWay, type Source, type SourceParts } from './source.ts';
import { StreamSource } from './stream-source.ts';

export interface InputsParts extends IntakeParts {
  instance: string;
  metrics: { backend: Pick<BackendMetrics, 'expectInputs'> };
}

export class Inputs {
  readonly #sources: ReadonlyMap<string, Source>;

  private constructor(sources: ReadonlyMap<string, Source>) {
    this.#sources = sources;
  }

  /** Starts to read. A source that is away is connected to as soon as it is there. */
  static async start(settings: readonly InputSettings[], parts: InputsParts): Promise<Inputs> {
    const sources = new Map<string, Source>();
    for (const each of settings) {
      const { name, places } = each;
      const { instance, log, maxMessageBytes } = parts;
      const most = mostUnderWay(maxMessageBytes);
      const intake = new Intake(name, places, parts);
      sources.set(name, await sourceOf(each, { name, instance, log, intake, most }));
    }
    parts.metrics.backend.expectInputs(sources);
    for (const source of sources.values()) source.start();
    return new Inputs(sources);
  }

  /** Finishes what is under way, for a few seconds at most, and hands the rest over to other nodes. */
  async close(): Promise<void> {
    await Promise.all([...this.#sources.values()].map((source) => source.close()));
  }
}

/** Each library is loaded with the first input that needs it. */
async function sourceOf(settings: InputSettings, parts: SourceParts): Promise<Source> {
  switch (settings.kind) {
    case 'redis':
      return new StreamSource(settings, parts);
    case 'rabbitmq':
      return new (await import('./rabbitmq-source.ts')).QueueSource(settings, parts);
    case 'kafka':
      return new (await import('./kafka-source.ts')).TopicSource(settings, parts);
  }
}
