/**
 * A publisher that continues through all faults: numbered messages to one room, several in flight at any time, and the
 * outcome of each.
 *
 * Owns the record of outcomes. It neither retries nor checks.
 */
import type { GatewayFrame, Position } from '../../shared/protocol.ts';
import type { Client } from '../support/client.ts';

export interface Outcome {
  number: number;
  /** `ok`, or the code of the error. */
  answer: string;
  /** Its position in a room with history. */
  position: Position | undefined;
  /** Time from sending to the answer. */
  ms: number;
}

const underWay = 5;

export class SteadyPublisher {
  /** In the order of the answers. */
  readonly outcomes: Outcome[] = [];
  readonly #client: Client;
  readonly #room: string;
  readonly #lanes: Promise<void>[];
  #next = 0;
  #stopping = false;

  constructor(client: Client, room: string) {
    this.#client = client;
    this.#room = room;
    this.#lanes = Array.from({ length: underWay }, () => this.#publish());
  }

  /** In the order in which they were sent. */
  get answers(): string[] {
    return this.#inOrder().map(({ answer }) => answer);
  }

  /** The numbers that were acknowledged, in the order in which they were sent. */
  get acknowledged(): number[] {
    return this.#inOrder().flatMap(({ number, answer }) => (answer === 'ok' ? [number] : []));
  }

  get slowestMs(): number {
    return Math.max(...this.outcomes.map(({ ms }) => ms));
  }

  /** Stops sending. Resolves when all are answered, with the number of the last one. */
  async stop(): Promise<number> {
    this.#stopping = true;
    await Promise.all(this.#lanes);
    return this.#next - 1;
  }

  async #publish(): Promise<void> {
    while (!this.#stopping) {
      const number = this.#next++;
      const sentAt = performance.now();
      const answer = await this.#client.request({ type: 'publish', room: this.#room, data: [number] }, 10_000);
      const code = answer.type === 'error' ? answer.code : answer.type;
      this.outcomes.push({ number, answer: code, position: positionOf(answer), ms: performance.now() - sentAt });
      // A refusal comes at once. Without a pause the loop would block everything else.
      if (code !== 'ok') await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  #inOrder(): Outcome[] {
    return this.outcomes.toSorted((one, other) => one.number - other.number);
  }
}

function positionOf(answer: GatewayFrame): Position | undefined {
  if (answer.type !== 'ok' || answer.epoch === undefined || answer.offset === undefined) return undefined;
  return { epoch: answer.epoch, offset: answer.offset };
}
