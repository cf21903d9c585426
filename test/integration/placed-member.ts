/**
 * A member of rooms with history that checks every frame against the protocol: each offset follows the one before, or a
 * `gap` has exactly the missing ones. `faults` collects the violations.
 *
 * Messages carry `[number, padding]`; it records only numbers and offsets. It can stop reading. Plain rooms are
 * recorded too, without offsets. It does not know what was published: see `expectWhole`.
 */
import { expect } from 'vitest';
import type { GapFrame, GatewayFrame, OkFrame, Position } from '../../shared/protocol.ts';
import { type Client, type Closed, connectWelcomed, okOf } from '../support/client.ts';
import { until } from '../support/until.ts';
import { tokenOf } from './people.ts';
import type { SteadyPublisher } from './steady-publisher.ts';

/** A message with its offset. */
export interface Placed extends Position {
  number: number;
}

/** Everything received of one room since the last `subscribe`. */
export interface Story {
  answer: OkFrame;
  position: Position;
  messages: Placed[];
  gaps: GapFrame[];
}

const kept = /^\{"type":"message","room":"([^"]+)","offset":(\d+),"data":\[(\d+)/;
const plain = /^\{"type":"message","room":"([^"]+)","id":"[^"]+","data":\[(\d+)/;
const answerMs = 15_000;

export class PlacedMember {
  readonly faults: string[] = [];
  readonly closed: Promise<Closed>;
  readonly #client: Client;
  readonly #stories = new Map<string, Story>();
  readonly #answers = new Map<string, (answer: GatewayFrame) => void>();

  static async enter(node: { url: string }, user: string): Promise<PlacedMember> {
    return new PlacedMember(await connectWelcomed(node.url, await tokenOf(user)));
  }

  static async join(node: { url: string }, user: string, room: string, since?: Position): Promise<PlacedMember> {
    const member = await PlacedMember.enter(node, user);
    await member.subscribe(room, since);
    return member;
  }

  private constructor(client: Client) {
    this.#client = client;
    this.closed = client.closed;
    // From here on the client must not record every frame itself.
    client.socket.removeAllListeners('message');
    client.socket.on('message', (bytes: Buffer) => this.#take(String(bytes)));
  }

  /** Rejects when the answer is not `ok`. */
  async subscribe(room: string, since?: Position): Promise<OkFrame> {
    return okOf(await this.request({ type: 'subscribe', room, ...(since && { since }) }));
  }

  async request(frame: { type: string; room: string; [field: string]: unknown }): Promise<GatewayFrame> {
    const id = `${frame.type} ${frame.room}`;
    let answer: GatewayFrame | undefined;
    this.#answers.set(id, (frame) => {
      answer = frame;
    });
    this.#client.send({ ...frame, id });
    await until(() => answer !== undefined, answerMs, `the answer to ${id}`);
    return answer as unknown as GatewayFrame;
  }

  story(room: string): Story {
    const story = this.#stories.get(room);
    if (story === undefined) throw new TypeError(`${room} was not joined`);
    return story;
  }

  numbers(room: string): number[] {
    return this.story(room).messages.map(({ number }) => number);
  }

  stopReading(): void {
    this.#client.socket.pause();
  }

  readAgain(): void {
    this.#client.socket.resume();
  }

  leave(): void {
    this.#client.socket.terminate();
  }

  /** Resolves when messages or gaps of the room have reached the offset. */
  async untilAt(room: string, { epoch, offset }: Position, deadlineMs: number): Promise<void> {
    const there = () => {
      const { position } = this.story(room);
      return position.epoch === epoch && position.offset >= offset;
    };
    await until(there, deadlineMs, `offset ${offset} of ${room}`).catch((error: Error) => {
      const { readyState } = this.#client.socket;
      throw new Error(`${error.message}; at ${JSON.stringify(this.story(room).position)}, socket state ${readyState}`);
    });
  }

  #take(text: string): void {
    const message = kept.exec(text) ?? plain.exec(text);
    if (message !== null) {
      const [, room = '', place = '', number = place] = message;
      this.#message(room, message.length === 4 ? Number(place) : undefined, Number(number));
      return;
    }
    const frame = JSON.parse(text) as GatewayFrame;
    if (frame.type === 'gap') this.#gap(frame);
    else if (frame.type === 'ok' || frame.type === 'error') {
      if (frame.type === 'ok' && frame.room !== undefined) this.#begin(frame.room, frame);
      this.#answers.get(String(frame.id))?.(frame);
    }
  }

  #begin(room: string, answer: OkFrame): void {
    const { epoch = '', offset = 0 } = answer;
    this.#stories.set(room, { answer, position: { epoch, offset }, messages: [], gaps: [] });
  }

  #message(room: string, offset: number | undefined, number: number): void {
    const story = this.#stories.get(room);
    const { epoch, offset: last } = story?.position ?? { epoch: '', offset: 0 };
    if (story === undefined || (offset !== undefined && offset !== last + 1)) {
      this.faults.push(`${room}: message ${offset} after ${last}`);
    }
    if (story === undefined) return;
    const position = { epoch, offset: offset ?? last + 1 };
    story.messages.push({ ...position, number });
    story.position = position;
  }

  #gap(gap: GapFrame): void {
    const story = this.#stories.get(gap.room);
    const { epoch: here = '', offset: at = 0 } = story?.position ?? {};
    const { reason, first, last, count, epoch, offset = 0 } = gap;
    const placed =
      epoch === undefined ||
      (reason === 'epoch'
        ? epoch !== here && first === undefined && last === undefined
        : epoch === here && first === at + 1 && offset === last && count === offset - at && count > 0);
    if (story === undefined || !placed) this.faults.push(`${JSON.stringify(gap)} after ${here} ${at}`);
    if (story === undefined) return;
    story.gaps.push(gap);
    if (epoch !== undefined) story.position = { epoch, offset };
  }
}

/**
 * Checks that every message acknowledged since the first recorded one was received at its offset or is in a gap, and
 * none twice. Messages without acknowledgement may be missing.
 */
export function expectWhole(
  { messages, gaps, answer }: Omit<Story, 'position'>,
  publisher: Pick<SteadyPublisher, 'outcomes'>,
): void {
  const byPlace = new Map(messages.map(({ epoch, offset, number }) => [`${epoch} ${offset}`, number]));
  expect(byPlace.size).toBe(messages.length);
  expect(new Set(messages.map(({ number }) => number)).size).toBe(messages.length);
  const epochs = [answer.epoch, ...gaps.flatMap(({ reason, epoch }) => (reason === 'epoch' ? [epoch] : []))];
  const lastOf = (of: string) => messages.findLast(({ epoch }) => epoch === of)?.offset ?? 0;
  const missing = publisher.outcomes.filter(({ number, position }) => {
    if (position === undefined) return false;
    const { epoch, offset } = position;
    if (byPlace.get(`${epoch} ${offset}`) === number) return false;
    if (epoch === answer.epoch && offset <= (answer.offset ?? 0)) return false;
    const skipped = gaps.some((gap) =>
      gap.reason === 'epoch'
        ? // What the old epoch had taken last may be lost with it.
          (epochs.indexOf(gap.epoch) > epochs.indexOf(epoch) && offset > lastOf(epoch)) ||
          (gap.epoch === epoch && offset <= (gap.offset ?? 0))
        : gap.epoch === epoch && (gap.first ?? 0) <= offset && offset <= (gap.last ?? 0),
    );
    return !skipped;
  });
  expect(missing).toEqual([]);
}
