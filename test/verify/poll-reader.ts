/** A reader by long poll: one after the other, each wherever it is sent, with a short pause like that of a slow network. */
import type { GapFrame } from '../../shared/protocol.ts';
import { beginPoll, type PollAnswer, type PollUnderWay } from '../support/poll.ts';
import { type Messages, type Place, Reader } from './reader.ts';

const shortestPauseMs = 300;
const longestPauseMs = 1_000;

export class PollReader {
  readonly reader: Reader;
  readonly #place: Place;
  readonly #token: string;
  readonly #messages: Messages;
  #poll: PollUnderWay | undefined;
  #stopped = false;

  constructor(name: string, room: string, token: string, place: Place, messages: Messages) {
    this.reader = new Reader(name, room);
    this.#place = place;
    this.#token = token;
    this.#messages = messages;
  }

  get listens(): boolean {
    return this.reader.position !== undefined;
  }

  connect(): void {
    void this.#follow();
  }

  stop(): void {
    this.#stopped = true;
    this.#poll?.abort();
  }

  async #follow(): Promise<void> {
    while (!this.#stopped) {
      await this.#once();
      const pauseMs = shortestPauseMs + Math.random() * (longestPauseMs - shortestPauseMs);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async #once(): Promise<void> {
    const port = this.#place();
    if (port === undefined) return;
    const { position, since, room } = this.reader;
    this.#poll = beginPoll({ port }, room, { token: this.#token, since });
    // A refusal and a connection that ends tell nothing: the next poll asks for the same again.
    const answer = await this.#poll.answer.catch(() => undefined);
    if (answer?.status !== 200 || this.#stopped) return;
    const { epoch, offset, recovered, messages, gap } = JSON.parse(answer.text) as PollAnswer;
    const goesOn = recovered === true || (gap !== undefined && position !== undefined);
    const beginning =
      goesOn && position !== undefined ? { ...position, recovered: true } : { epoch, offset, recovered };
    const chapter = this.reader.begin(position, beginning);
    for (const message of messages) this.reader.hear(chapter, this.#messages.read(JSON.stringify(message)));
    if (gap !== undefined) this.reader.gap(chapter, { type: 'gap', room, ...gap } as GapFrame);
    this.reader.end(chapter);
    const reached = this.reader.position;
    if (reached?.epoch !== epoch || reached.offset !== offset) {
      throw new Error(`the poll says ${epoch}:${offset}, and what it tells ends at ${JSON.stringify(reached)}`);
    }
  }
}
