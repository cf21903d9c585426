/**
 * gateway/operations/cluster on a cluster of one node in memory: who may ask, and what is refused. Several nodes:
 * test/integration/control.test.ts and test/integration/cluster-lists.test.ts.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { type ControlChannel, UnknownCommandError } from '../../../gateway/backplane/control.ts';
import { MemoryControl } from '../../../gateway/backplane/memory/control.ts';
import { ClusterNode } from '../../../gateway/cluster.ts';
import { type Caller, server } from '../../../gateway/operations/caller.ts';
import type { ClusterParts } from '../../../gateway/operations/cluster/ask.ts';
import { performCommand } from '../../../gateway/operations/cluster/commands.ts';
import { listConnections, listRooms } from '../../../gateway/operations/cluster/lists.ts';
import { listNodes, stats } from '../../../gateway/operations/cluster/nodes.ts';
import {
  disconnectConnection,
  disconnectUser,
  kickUser,
  subscribeUser,
} from '../../../gateway/operations/cluster/users.ts';
import type { LocalNode } from '../../../gateway/operations/local-node.ts';
import { Refusal } from '../../../gateway/operations/refusal.ts';
import type { Freeze } from '../../../gateway/rooms/freeze.ts';
import { tellEvents } from '../../../gateway/telemetry/events.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { onCleanup } from '../../support/cleanup.ts';

const client: Caller = {
  ...{ id: 'n-1', address: '192.0.2.1' },
  identity: { user: 'ann', grants: [] },
  isMember: () => true,
};
const faults = new Faults(createLog('silent'));

let control: ControlChannel;
let parts: ClusterParts;
let performed: string[];
beforeEach(() => {
  performed = [];
  control = new MemoryControl('n-1', 'n');
  parts = { control, faults };
  control.start({
    perform: async ({ kind }) => {
      performed.push(kind);
      return 0;
    },
    interrupted: () => undefined,
    asked: () => undefined,
  });
  onCleanup(() => control.close());
});

test('nobody but the server may ask: nothing is sent, and nobody is blocked', async () => {
  for (const refused of [
    disconnectUser(parts, client, { user: 'ann', blockSeconds: 1 }),
    disconnectConnection(parts, client, 'a-b-1'),
    subscribeUser(parts, client, { user: 'ann', room: 'a' }),
    kickUser(parts, client, { user: 'ann', room: 'a' }),
    listConnections(parts, client, { limit: 1 }),
    listRooms(parts, client, { limit: 1 }),
    listNodes(parts, client),
    stats(parts, client),
  ]) {
    const refusal = await refused.catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(Refusal);
    expect(refusal).toMatchObject({ code: 'forbidden' });
  }
  expect(performed).toEqual([]);
  expect((await control.blocks(undefined))?.blocks).toEqual([]);
});

describe('refused with what to do', () => {
  test.each([
    ['a user without a name', { user: '' }, /1 to 200 bytes/],
    ['a user with too long a name', { user: 'é'.repeat(101) }, /1 to 200 bytes/],
    ['a block of half a second', { user: 'ann', blockSeconds: 0.5 }, /whole number/],
    ['a block of less than nothing', { user: 'ann', blockSeconds: -1 }, /whole number/],
    ['a block of more than a year', { user: 'ann', blockSeconds: 31_536_001 }, /31536000/],
    ['a block that is no number', { user: 'ann', blockSeconds: Number.NaN }, /whole number/],
  ])('is %s', async (_, target, sentence) => {
    const refusal = { code: 'bad_request', message: expect.stringMatching(sentence) };
    await expect(disconnectUser(parts, server, target)).rejects.toMatchObject(refusal);
    expect(performed).toEqual([]);
    expect((await control.blocks(undefined))?.blocks).toEqual([]);
  });

  test.each(['', 'a b', '..', 'x'.repeat(201)])('is the room %j', async (room) => {
    const target = { user: 'ann', room };
    for (const refused of [subscribeUser(parts, server, target), kickUser(parts, server, target)]) {
      await expect(refused).rejects.toMatchObject({ code: 'bad_request' });
    }
    expect(performed).toEqual([]);
  });

  test.each([0, -1, 1.5, 1_001, Number.NaN])('is the limit %d', async (limit) => {
    for (const refused of [listConnections(parts, server, { limit }), listRooms(parts, server, { limit })]) {
      await expect(refused).rejects.toMatchObject({ code: 'bad_request', message: expect.stringMatching(/1 to 1000/) });
    }
  });
});

test('a node that answers something else than this version understands is missing', async () => {
  expect(await listNodes(parts, server)).toEqual({ nodes: [], missing: ['n'] });
  expect(await disconnectUser(parts, server, { user: 'ann' })).toEqual({ disconnected: 0 });
});

test('without a channel a question is `unavailable`', async () => {
  control.close();
  await expect(disconnectUser(parts, server, { user: 'ann' })).rejects.toMatchObject({ code: 'unavailable' });
  const blocking = disconnectUser(parts, server, { user: 'ann', blockSeconds: 1 });
  await expect(blocking).rejects.toMatchObject({ code: 'unavailable' });
});

describe('a page of a long list, of which entries end while it is made,', () => {
  const limit = 30;
  /** Ends what stands at the beginning of the list when others have their turn. */
  const meanwhile = (end: () => void) => setImmediate(end);

  test('has as many connections as it may, and says that there are more', async () => {
    const connections = Array.from({ length: 6_000 }, (_, index) => ({
      ...{ id: `n-1-${index + 1}`, number: index + 1, closing: false, condition: { address: 'somewhere' } },
      identity: { user: index % 100 === 0 ? 'ann' : 'bob', grants: [] },
      isMember: () => true,
    }));
    const node = { node: 'n', instance: 'n-1', connections: new Set(connections) } as unknown as LocalNode;
    meanwhile(() => {
      for (const connection of connections.slice(0, 1_900)) connection.closing = true;
    });
    const page = await performCommand(node, { kind: 'list connections', arguments: { user: 'ann', limit } });
    const { entries, more } = page as { entries: { connection: string }[]; more: boolean };
    expect([entries.length, more]).toEqual([limit, true]);
    expect(entries.at(-1)?.connection).toBe('n-1-2901');
  });

  test('has as many rooms as it may, and says that there are more', async () => {
    const rooms = Array.from({ length: 6_000 }, (_, index) => ({ name: `r${10_000 + index}`, members: 1 }));
    meanwhile(() => {
      for (const room of rooms.slice(0, 1_900)) room.members = 0;
    });
    const node = { hub: { rooms } } as unknown as LocalNode;
    const page = await performCommand(node, { kind: 'list rooms', arguments: { limit } });
    const { entries, more } = page as { entries: object[]; more: boolean };
    expect([entries.length, more]).toEqual([limit, true]);
  });
});

describe('this node', () => {
  const clusterNode = (local: object, faultLines: unknown[] = []) => {
    const checks: number[] = [];
    const asked: number[] = [];
    const node = new ClusterNode({
      control,
      local: local as LocalNode,
      freeze: { check: (now: number) => checks.push(now) } as unknown as Freeze,
      events: tellEvents({ controlAsked: (seconds) => asked.push(seconds) }),
      faults: { report: (...fault: unknown[]) => faultLines.push(fault) } as unknown as Faults,
    });
    return { node, checks, asked };
  };

  test('reads the blocks again when it may have missed a command', () => {
    let looks = 0;
    const { node } = clusterNode({ blocks: { look: async () => void looks++ } });
    node.interrupted();
    expect(looks).toBe(1);
  });

  test('notices that it stood still before it performs what waited for it', async () => {
    const { node, checks } = clusterNode({ connections: new Set() });
    await node.perform({ kind: 'disconnect user', arguments: { user: 'ann' } });
    expect(checks).toHaveLength(1);
  });

  test('reports a fault in a command, and not a command of a later version', async () => {
    const reported: unknown[] = [];
    const { node } = clusterNode({}, reported);
    await expect(node.perform({ kind: 'later', arguments: {} })).rejects.toThrow(UnknownCommandError);
    expect(reported).toEqual([]);
    await expect(node.perform({ kind: 'disconnect user', arguments: { user: 'ann' } })).rejects.toThrow(TypeError);
    expect(reported).toHaveLength(1);
  });

  test('counts how long its questions take', () => {
    const { node, asked } = clusterNode({});
    node.asked(0.5);
    expect(asked).toEqual([0.5]);
  });
});

test.each([
  ['a kind', { kind: 'of a later version', arguments: {} }],
  ['an argument', { kind: 'disconnect user', arguments: { user: 'ann', softly: true } }],
  ['a type', { kind: 'disconnect user', arguments: { user: 7 } }],
  ['arguments', { kind: 'describe node', arguments: null }],
  ['a kind like a member of an object', { kind: 'constructor', arguments: {} }],
])('a node does nothing that it does not know whole: %s', async (_, command) => {
  const node = {
    get connections(): never {
      throw new Error('it was performed');
    },
  } as unknown as LocalNode;
  await expect(performCommand(node, command)).rejects.toThrow(UnknownCommandError);
});
