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
const briefly = { warmUpMs: 5_000, sampledMs: 8_000, mostRise: { rss: 0.5, others: 0.5 } };

function print({ growths, objects, done, failures, reasons }: Outcome): void {
  const list = (of: ReadonlyMap<string, number>) => [...of].map(([what, times]) => `  ${times} × ${what}`);
  const lines = [table(growths, objects), 'done:', ...list(done), 'failed:', ...list(failures), ...reasons];
  process.stdout.write(`\n${lines.join('\n')}\n`);
}

test('nothing grows while clients come and go, and all is given back', {
  timeout: options.sampledMs + 2 * options.warmUpMs + aroundMs,
}, async () => {
  const outcome = await soak(options);
  print(outcome);
  expect(outcome.reasons).toEqual([]);
  for (const [kind, times] of outcome.done) expect([kind, times > 3]).toEqual([kind, true]);
});

test('a gateway that leaks timers, descriptors, subscriptions and memory with its connections is found', {
  timeout: aroundMs,
}, async () => {
  const { reasons } = await soak(briefly, [
    {
      file: 'connection/connections.js',
      place: '    closed(connection, code) {',
      change: `    closed(connection, code) {
        globalThis.leaked ??= { maps: [], buffers: new Set(), Leaked: class Leaked extends Map {} };
        globalThis.leaked.maps.push(new globalThis.leaked.Leaked([[connection.id, code]]));
        globalThis.leaked.buffers.add(Buffer.alloc(50_000, 1));
        if (globalThis.leaked.maps.length % 20 === 0) {
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
  for (const what of ['timers', 'descriptors', 'redis channels', 'redis subscriptions', 'Leaked', 'ArrayBuffer']) {
    expect([what, reasons.some((reason) => reason.includes(what))]).toEqual([what, true]);
  }
});
