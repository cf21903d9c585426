/** Asking the cluster for a dashboard (gateway/dashboard/observer.ts): what becomes of an answer that is lost. */
import { expect, test } from 'vitest';
import type { ControlChannel } from '../../../gateway/backplane/control.ts';
import { Observer, type View } from '../../../gateway/dashboard/observer.ts';
import type { Faults } from '../../../gateway/telemetry/faults.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { until } from '../../support/until.ts';
import { observation } from './observation.ts';

const closed = (count: number, at: number) =>
  observation({ node: 'two', instance: 'two-1', at, reasons: { ...observation().reasons, closed: { 4005: count } } });

test('what happened on a node while it did not answer is shown when it answers again', async () => {
  const answers = [closed(0, 0), undefined, closed(3, 2_000)];
  const control = {
    ask: async ({ kind }: { kind: string }) => {
      const own = { node: 'one', value: observation() };
      if (kind !== 'observe') return { answers: [], missing: [] };
      const value = answers.shift();
      if (value === undefined) return { answers: [own], missing: ['two'] };
      return { answers: [own, { node: 'two', value }], missing: [] };
    },
  } as unknown as ControlChannel;
  const faults = { report: (_: string, error: unknown) => expect.fail(String(error)) } as unknown as Faults;
  const observer = new Observer({ control, faults, local: { node: 'one', instance: 'one-1' } as never });
  onCleanup(() => observer.close());
  const views: View[] = [];
  observer.watch({ send: (event, data) => event === 'tick' && views.push(JSON.parse(data)) });
  await until(() => views.length >= 3, 10_000, 'three ticks');
  expect(views.slice(0, 3).map(({ missing }) => missing)).toEqual([[], ['two'], []]);
  expect(views[2]?.point.events.closed).toEqual({ 4005: 3 });
});
