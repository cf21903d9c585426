/**
 * What tests do to a room with history: publish so many messages, of so many bytes, and read everything that is kept.
 * It knows the contract of a backplane, no implementation.
 */
import type { HistoryPage, HistoryQuery, Publication, Published } from '../../gateway/backplane/backplane.ts';
import { until } from '../support/until.ts';
import { keptPublication, type Recorder } from './recorder.ts';

const deadlineMs = 10_000;

/** Publishes one after the other. At least one. */
export async function publishKept(
  node: Recorder,
  room: string,
  number: number,
  fields: Partial<Publication> = {},
): Promise<[Published, ...Published[]]> {
  const published = [await node.backplane.publish(keptPublication(room, fields))] as [Published];
  while (published.length < number) published.push(await node.backplane.publish(keptPublication(room, fields)));
  return published;
}

export function offsetsOf(published: readonly Published[]): (number | undefined)[] {
  return published.map(({ position }) => position?.offset);
}

/** The frame that nodes deliver of a publication. */
export function frameOf({ prefix, suffix }: Publication, offset: number): string {
  return `${prefix}${offset}${suffix}`;
}

/** A suffix with which the finished frame of a `keptPublication` has exactly so many bytes, some of them in pairs. */
export function suffixOf(offset: number, frameBytes: number): string {
  const around = Buffer.byteLength(`{"offset":${offset},"data":""}`);
  const pairs = Math.floor(frameBytes / 4);
  return `,"data":"${'é'.repeat(pairs)}${'x'.repeat(frameBytes - around - 2 * pairs)}"}`;
}

/** Every frame that is kept, read page by page. */
export async function readAll(node: Recorder, room: string): Promise<string[]> {
  const frames: string[] = [];
  for (let offset = 0; ; ) {
    const page = await node.backplane.read(room, { after: { epoch: undefined, offset }, limit: 700, maxBytes: 65_536 });
    frames.push(...page.messages.map(({ frame }) => Buffer.from(frame).toString('utf8')));
    offset = page.messages.at(-1)?.offset ?? page.top;
    if (offset >= page.top) return frames;
  }
}

/** The whole numbers from `first` to `last`. */
export function span(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

/** The newest that is kept, at most 1,000 messages. */
export function pageOf(node: Recorder, room: string, query: Partial<HistoryQuery> = {}): Promise<HistoryPage> {
  return node.backplane.read(room, { limit: 1_000, maxBytes: 10_485_760, ...query });
}

/** Publishes until it is taken. */
export async function keptWhenBack(
  node: Recorder,
  room: string,
  fields: Partial<Publication> = {},
): Promise<Published> {
  const publish = () => node.backplane.publish(keptPublication(room, fields));
  return until(publish, deadlineMs, `a message of ${room} is taken`);
}
