/**
 * Messages of random bytes through two nodes, to members of all dialects: live, by history and by a resume.
 *
 * Owns what was published.
 */
import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { poll } from '../support/poll.ts';
import { until } from '../support/until.ts';
import { digest, type Node, speakers } from './byte-speakers.ts';
import { randomRoom, tokenOf } from './people.ts';

export const mostBytes = 65_536;
/** Under way at a time, of each publisher. */
const window = 16;

/** All sizes up to the largest, small ones more often: the mean is a fifth of the largest. */
function sizeOf(number: number): number {
  return [0, 1, mostBytes][number] ?? Math.floor((mostBytes + 1) * Math.random() ** 4);
}

/** Bytes that are the text of JSON are that JSON to Centrifugo's Protobuf: docs/centrifugo.md. So it sends none of these. */
function someBytes(size: number): Uint8Array {
  for (;;) {
    const bytes = randomBytes(size);
    if (size === 0 || !isJson(bytes.toString('latin1'))) return bytes;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Publishes `count` messages, and expects each with each member, once, in one order and byte for byte. */
export async function expectBytesEverywhere(one: Node, two: Node, count: number, withinMs: number): Promise<void> {
  const room = randomRoom('kept');
  const nodes = [one, two];
  const all = Object.entries(speakers);
  const { epoch, offset } = await poll(one, room, { token: await tokenOf('first') });
  const members = await Promise.all(
    nodes.flatMap((node, at) => all.map(([name, speaker]) => speaker.listen(node, `${name} ${at}`, room))),
  );
  const published: string[] = [];
  const publishers = await Promise.all(
    all.flatMap(([name, { publisher }], at) => publisher?.(nodes[at % 2] as Node, `publisher-of-${name}`, room) ?? []),
  );
  const next = async (publish: (bytes: Uint8Array) => Promise<unknown>): Promise<void> => {
    const number = published.length;
    if (number === count) return;
    const bytes = someBytes(sizeOf(number));
    published.push(digest(bytes));
    await publish(bytes);
    return next(publish);
  };
  await Promise.all(publishers.flatMap((publish) => Array.from({ length: window }, () => next(publish))));

  const resumed = await Promise.all(
    all.map(([name, speaker], at) =>
      speaker.listen(nodes[(at + 1) % 2] as Node, `resumed-${name}`, room, { epoch, offset }),
    ),
  );
  const everybody = [...members, ...resumed];
  await until(() => everybody.every((heard) => heard.length >= count), withinMs, 'everybody has every message').catch(
    (error: Error) => {
      const names = [
        ...nodes.flatMap((_, at) => all.map(([name]) => `${name} ${at}`)),
        ...all.map(([name]) => `resumed ${name}`),
      ];
      const isDigest = (text: string) => /^[\w+/]{43}=$/.test(text);
      const short = everybody.flatMap((heard, at) =>
        heard.length < count ? [`${names[at]}: ${heard.length}, ${heard.filter((text) => !isDigest(text))}`] : [],
      );
      throw new Error(`${error.message}; but ${short.join('; ')}`);
    },
  );
  const [order = []] = members;
  expect([...order].sort()).toEqual([...published].sort());
  for (const heard of everybody) expect(heard).toEqual(order);
  for (const [name, { history }] of all) {
    if (history !== undefined) expect(await history(one, `reader-of-${name}`, room)).toEqual(order);
  }
}
