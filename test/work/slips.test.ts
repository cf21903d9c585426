/**
 * The budget sees slips: builds that do a thing in a dearer way, as a change might by accident, are over it.
 */
import { beforeAll, expect, test } from 'vitest';
import { type Change, changedBuild } from '../support/changed-build.ts';
import { overBudget, readBudget } from './budget.ts';
import { heldBytes, holding } from './holding.ts';
import { least, scenarios } from './scenarios.ts';
import { Stage } from './stage.ts';
import { needStrace } from './system-calls.ts';

interface Slip {
  does: string;
  change: Change;
  /** The beginning of a scenario's name, and what is over its budget. */
  seenIn: string;
  over: string[];
}

const slips: Slip[] = [
  {
    does: 'sends to each member, and not to the room',
    change: {
      file: 'gateway.js',
      place: 'new Fanout(server.publish, backpressure)',
      change: 'new Fanout((_, frame) => { for (const each of open) each.send(frame); }, backpressure)',
    },
    seenIn: 'a hot room',
    over: ['sends', 'all', 'heapBytes'],
  },
  {
    does: 'parses what it delivers',
    change: {
      file: 'rooms/hub.js',
      place: 'message(name, frame, at, position) {',
      change: 'message(name, frame, at, position) {\n        JSON.parse(Buffer.from(frame).toString());',
    },
    seenIn: 'many rooms',
    over: ['heapBytes'],
  },
  {
    does: "writes each push of Centrifugo's Protobuf from a value",
    change: {
      file: 'protocol/centrifugo/protobuf/publication.js',
      place: 'if (!cut.isMessage || ',
      change: 'if (cut.isMessage || ',
    },
    seenIn: "a hot room: bursts of 32 messages to 30 members that speak Centrifugo's Protobuf",
    over: ['heapBytes'],
  },
  {
    does: "parses each message for members of Centrifugo's protocol",
    change: {
      file: 'protocol/centrifugo/message-cut.js',
      place: 'this.isMessage = this.#cut();',
      change: 'this.isMessage = this.#cut(); JSON.parse(Buffer.from(frame).toString());',
    },
    seenIn: "many rooms: bursts of one message to each of 32 rooms of 10 members that speak Centrifugo's JSON",
    over: ['heapBytes'],
  },
  {
    does: 'writes command by command to Redis',
    change: {
      file: 'redis/connection/pipeline.js',
      place: 'const maxTextLength = 65_536;',
      change: 'const maxTextLength = 0;',
    },
    seenIn: 'publishing: ',
    over: ['writes', 'all'],
  },
  {
    does: 'subscribes room by room',
    change: {
      file: 'redis/subscriptions.js',
      place: 'const channelsPerCommand = 1_000;',
      change: 'const channelsPerCommand = 1;',
    },
    seenIn: 'joining',
    over: ['commands'],
  },
];

beforeAll(needStrace);

test('a node that remembers tokens with all their claims is over the budget', async () => {
  const program = changedBuild({
    file: 'auth/verified-tokens.js',
    place: 'this.#remembered.set(hash, verified);',
    change:
      "this.#remembered.set(hash, { token, claims: JSON.parse(Buffer.from(token.split('.')[1], 'base64url')), ...verified });",
  });
  const counts = { heldBytes: await heldBytes(program) };
  expect(overBudget(counts, readBudget()[holding] ?? {})).toHaveLength(1);
});

test.each(slips)('a node that $does is over the budget', async ({ change, seenIn, over }) => {
  const scenario = scenarios.find(({ name }) => name.startsWith(seenIn));
  if (scenario === undefined) throw new Error(`no scenario begins with ${seenIn}`);
  const counts = await least(scenario, await Stage.set(changedBuild(change)), () => true);
  const names = overBudget(counts, readBudget()[scenario.name] ?? {}).map((text) => text.split(':')[0]);
  expect(names).toEqual(expect.arrayContaining(over));
});
