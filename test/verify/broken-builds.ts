/**
 * Gateways that break a promise on purpose: copies of the built program with one place changed. A harness that finds nothing
 * wrong with them is blind.
 */
import { type Change, changedBuild } from '../support/changed-build.ts';
import type { FaultKind } from './nemesis.ts';
import type { ViolationKind } from './publications.ts';
import type { Dialect } from './speech.ts';

interface BrokenBuild {
  breaks: string;
  /** The fault that makes it show. */
  faults: FaultKind[];
  /** Of the clients; default: all. */
  dialects?: readonly Dialect[];
  /** At least one of these violations must be found. */
  expected: ViolationKind[];
  /** Returns the program, as for spawnNode. */
  make(): string;
}

export const brokenBuilds: BrokenBuild[] = [
  {
    breaks: 'skips every 1,000th delivery',
    faults: [],
    expected: ['LOST_GAP'],
    make: broken({
      file: 'rooms/hub.js',
      place: '        this.#fanout.message(room, frame, position);\n        room.messageCount++;',
      change: `        globalThis.due = (globalThis.due ?? 0) + room.members - room.detached;
        if (globalThis.due >= 1000) globalThis.due -= 1000;
        else this.#fanout.message(room, frame, position);
        room.messageCount++;`,
    }),
  },
  {
    breaks: 'forgets the key of a publish',
    faults: ['replies swallowed'],
    // The others have no keys.
    dialects: ['native'],
    expected: ['DOUBLE'],
    make: broken(
      { file: 'redis/publish.lua', place: "'NX', ", change: '' },
      { file: 'redis/history/append.lua', place: 'if first then', change: 'if false then' },
    ),
  },
  {
    breaks: 'ignores the epoch',
    faults: ['Redis emptied'],
    expected: ['EPOCH', 'LOST_GAP', 'DIVERGE'],
    make: broken(
      {
        file: 'rooms/hub.js',
        place: 'gap: (hole) => {',
        change: "gap: (hole) => { if (hole.reason === 'epoch') return;",
      },
      {
        file: 'rooms/feed.js',
        place: "follower.receive([{ reason: 'epoch', position: here }], true)",
        change: 'follower.receive([], true)',
      },
    ),
  },
  {
    breaks: "does not tell Centrifugo's members that messages are missing",
    faults: ['Redis emptied'],
    expected: ['LOST_GAP', 'LOST_TAIL', 'EPOCH', 'DIVERGE'],
    make: broken({
      file: 'protocol/centrifugo/encode.js',
      place: "return reply.count === 0 ? [] : [push(reply.room, 'unsubscribe', unsubscribes.gap)];",
      change: 'return [];',
    }),
  },
  {
    // Only those who speak Protobuf can find it.
    breaks: 'recovers members by Protobuf from one message too late',
    faults: [],
    expected: ['LOST_GAP'],
    make: broken({
      file: 'protocol/centrifugo/protobuf/dialect.js',
      place: 'readCommand(text)',
      change: `readCommand(text.replace(/"offset":(\\d+)/, (_, offset) => '"offset":' + (Number(offset) + 1)))`,
    }),
  },
  {
    breaks: 'takes a master for one for ever',
    faults: ['master demoted (a node cut)'],
    expected: ['LOST_GAP', 'LOST_TAIL'],
    make: broken(
      {
        file: 'redis/connection/connection.js',
        place: `            if (error !== undefined)
                return;
            const unfit = whyUnfit(String(info), this.isSharded);`,
        change: `            this.#options.onMasterConfirmed?.();
            return;
            const unfit = whyUnfit(String(info), this.isSharded);`,
      },
      { file: 'redis/connection/connection.js', place: 'if (notMaster.test(message))', change: 'if (false)' },
      { file: 'redis/backplane.js', place: "if (!error.message.includes('STALE')", change: 'if (true' },
    ),
  },
];

function broken(...changes: Change[]): () => string {
  return () => changedBuild(...changes);
}
