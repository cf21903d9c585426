/**
 * The intake of one input: publishes what its source hands out, each message until the backplane has it.
 *
 * Messages of one room are published one after the other, in the order in which they are handed over; rooms do not wait for each
 * other. So after a failure the order in a room is kept, and a node that takes over repeats a beginning that the key makes known. It
 * never knows where messages come from, or how they are acknowledged.
 */
import { type PublishParts, publishFromServer, type ServerMessage } from '../operations/publish.ts';
import type { Refusal } from '../operations/refusal.ts';
import type { Events } from '../telemetry/events.ts';
import { type Logger, truncate } from '../telemetry/log.ts';
import { type Places, Poison, readMessage, type SourceMessage } from './message.ts';

export interface IntakeParts extends PublishParts {
  events: Events;
  log: Logger;
  maxMessageBytes: number;
}

/** `left`: the outcome is not known, and somebody else has to go on. */
export type Outcome = 'published' | 'left' | Poison;

/** Between two attempts: doubles from the first to the last of these, less up to half of it by chance. */
const fastestRetryMs = 100;
const slowestRetryMs = 2_000;

export class Intake {
  readonly #name: string;
  readonly #places: Places;
  readonly #parts: IntakeParts;
  /** The last message of each room that is under way. A source bounds how many there are. */
  readonly #lanes = new Map<string, Promise<Outcome>>();

  constructor(name: string, places: Places, parts: IntakeParts) {
    this.#name = name;
    this.#places = places;
    this.#parts = parts;
  }

  /**
   * Resolves when the backplane has taken the message, or with the Poison because of which it never will. `mayGoOn` is asked before
   * each attempt; once false it stays false: then the outcome is `left`. Never rejects.
   */
  async take(message: SourceMessage, mayGoOn: () => boolean): Promise<Outcome> {
    const read = readMessage(message, this.#places, this.#parts.maxMessageBytes);
    if (read instanceof Poison) return this.#park(read);
    const { room } = read;
    const turn = (this.#lanes.get(room) ?? Promise.resolve()).then(() => this.#publish(read, mayGoOn));
    this.#lanes.set(room, turn);
    const outcome = await turn;
    if (this.#lanes.get(room) === turn) this.#lanes.delete(room);
    return outcome;
  }

  async #publish(message: ServerMessage, mayGoOn: () => boolean): Promise<Outcome> {
    const { events, log } = this.#parts;
    for (let attempt = 0; mayGoOn(); attempt++) {
      try {
        const { duplicate } = await publishFromServer(this.#parts, message, 'input', mayGoOn);
        events.inputTaken(this.#name, duplicate ? 'duplicate' : 'published');
        return 'published';
      } catch (error) {
        const refusal = error as Refusal;
        if (!mayGoOn()) break;
        events.inputTaken(this.#name, 'retried');
        log.warn(
          { input: this.#name, reason: `${this.#name}: ${truncate(refusal.message)}` },
          'a message of an input is not published yet; it is tried again',
        );
        await new Promise((resolve) => setTimeout(resolve, pauseAfter(attempt)));
      }
    }
    return 'left';
  }

  #park(poison: Poison): Poison {
    this.#parts.events.inputTaken(this.#name, 'parked');
    const fields = { input: this.#name, reason: `${this.#name}: ${poison.reason}` };
    this.#parts.log.warn(fields, 'a message of an input cannot be published; it is parked');
    return poison;
  }
}

function pauseAfter(attempt: number): number {
  return Math.min(fastestRetryMs * 2 ** attempt, slowestRetryMs) * (0.5 + Math.random() / 2);
}
