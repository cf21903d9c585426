/**
 * `npm run soak`: clients of all kinds come and go for minutes; nothing grows, and all is given back when they have left. Then
 * a gateway that leaks on purpose, and the same harness must find it.
 */
import { expect, test } from 'vitest';
import { table } from './judge.ts';
import { readOptions } from './options.ts';
import { type Outcome, soak } from './soak.ts';

const options = readOptions(process.env);
const aroundMs = 180_000;
const briefly = { warmUpMs: 4_000, runMs: 12_000, mostRise: 0.5 };

function print({ growths, heapAtRest, done, failures, reasons }: Outcome): void {
  const list = (of: Map<string, number>) => [...of].map(([what, times]) => `  ${times} × ${what}`);
  const lines = [table(growths, heapAtRest), 'done:', ...list(done), 'failed:', ...list(failures), ...reasons];
  process.stdout.write(`\n${lines.join('\n')}\n`);
}

test('nothing grows while clients come and go, and all is given back', {
  timeout: options.runMs + aroundMs,
}, async () => {
  const outcome = await soak(options);
  print(outcome);
  expect(outcome.reasons).toEqual([]);
  expect([...outcome.failures]).toEqual([]);
  for (const [kind, times] of outcome.done) expect([kind, times > 3]).toEqual([kind, true]);
});

test('a gateway that leaks timers, descriptors, rooms and memory with its connections is found', {
  timeout: aroundMs,
}, async () => {
  const { reasons } = await soak(briefly, [
    {
      file: 'connection/connections.js',
      place: '    closed(connection, code) {',
      change: `    closed(connection, code) {
        (globalThis.leaked ??= []).push(connection, Buffer.alloc(50_000, 1));
        if (globalThis.leaked.length % 20 === 0) {
          setInterval(() => undefined, 60_000);
          process.getBuiltinModule('node:fs').openSync('/dev/null');
        }`,
    },
    {
      file: 'rooms/hub.js',
      place: 'this.#backplane.unsubscribe(room.name);',
      change: "if (!room.name.startsWith('plain')) this.#backplane.unsubscribe(room.name);",
    },
  ]);
  process.stdout.write(`found: ${reasons.join('; ')}\n`);
  for (const what of ['timers', 'descriptors', 'redis channels', 'redis subscriptions', 'the heap']) {
    expect([what, reasons.some((reason) => reason.includes(what))]).toEqual([what, true]);
  }
});
