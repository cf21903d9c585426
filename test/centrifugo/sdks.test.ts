/**
 * Unmodified SDKs of Centrifugo in three languages, as JSON and as Protobuf, on two nodes behind a load balancer, in a room with
 * a native member.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { clusterSettings } from '../integration/cluster.ts';
import { roomsFile } from '../integration/files.ts';
import { dataOf, join, randomRoom } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { startBalancer } from '../verify/balancer.ts';
import { SdkMember } from './member.ts';
import { type Sdk, sdks } from './sdks.ts';

const rules = roomsFile({ match: 'kept:*', history: { size: 1_000 }, presence: true, joinLeave: true });

/** Nodes of one cluster behind one address. */
async function startCluster(count: number) {
  const settings = { ...clusterSettings(), ...{ CENTRIFUGO: true, ROOMS_FILE: rules, PUBLISH_RATE: 0 } };
  const balancer = await startBalancer();
  const start = async () => {
    const node = await spawnNode({ ...settings, ...{ DRAIN_NOTICE_MS: 500, DRAIN_MS: 500 } });
    balancer.targets.push(node);
    await until(() => balancer.ready[balancer.targets.indexOf(node)], 10_000, 'the node is ready');
    return node;
  };
  const nodes: SpawnedNode[] = [];
  for (let each = 0; each < count; each++) nodes.push(await start());
  return { nodes, url: balancer.url.replace('/ws', '/connection/websocket'), balancer };
}

/** Hands out tokens that hold for so long. */
async function startTokens(user: string, seconds: number) {
  let asked = 0;
  const server = createServer((_, response) => {
    asked++;
    const exp = Math.floor(Date.now() / 1000) + seconds;
    mintToken({ sub: user, exp, rooms: { '*': ['subscribe', 'publish'] } }).then((token) => response.end(token));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanup(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, asked: () => asked };
}

let one: Awaited<ReturnType<typeof startCluster>>;
beforeAll(async () => {
  one = await startCluster(1);
}, 60_000);

describe.each(Object.keys(sdks))('%s', (name) => {
  let sdk: Sdk;
  beforeAll(async () => {
    sdk = (await sdks[name]?.()) ?? { missing: 'nobody knows it' };
    if ('missing' in sdk) process.stdout.write(`${name} SKIPPED: ${sdk.missing}\n`);
  }, 300_000);

  beforeEach(({ skip }) => {
    if ('missing' in sdk) skip(sdk.missing);
  });

  const start = (form: string, url: string, tokens: { url: string }, room: string) => {
    if ('missing' in sdk) throw new Error(sdk.missing);
    return new SdkMember(sdk.command, [form, url, tokens.url, room]);
  };

  describe.each(['json', 'protobuf'])('%s', (form) => {
    test('it subscribes, publishes, and reads presence and history beside a native member', async () => {
      const { nodes, url } = one;
      const room = randomRoom('kept');
      const member = start(form, url, await startTokens('guest', 3_600), room);
      await member.next('subscribed');
      const native = await join(nodes[0] as SpawnedNode, 'native', room);
      for (let data = 1; data <= 10; data++) {
        if (data % 2 === 0) await native.publish(room, data);
        else await member.ask(`publish ${data}`, 'published');
      }
      await member.have(10);
      expect(member.data).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      expect(member.offsets).toEqual(member.data);
      expect(dataOf(native, room)).toEqual(member.data);
      expect((await member.ask('presence', 'presence')).users?.sort()).toEqual(['guest', 'native']);
      expect(await member.ask('history', 'history')).toMatchObject({ offset: 10, data: member.data });
    }, 60_000);

    test.each(['killed', 'drained'])(
      'it comes back from a node that is %s, and gets what it missed',
      async (end) => {
        const { nodes, url, balancer } = await startCluster(2);
        const room = randomRoom('kept');
        const member = start(form, url, await startTokens('guest', 3_600), room);
        await member.next('subscribed');
        const at = await nodeOfMember(nodes);
        const [ending, staying] = [nodes[at], nodes[1 - at]] as [SpawnedNode, SpawnedNode];
        const native = await join(staying, 'native', room);
        await native.publish(room, 1);
        await member.have(1);
        ending.kill(end === 'killed' ? 'SIGKILL' : 'SIGTERM');
        balancer.targets[at] = undefined;
        for (let data = 2; data <= 100; data++) await native.publish(room, data);
        expect(await member.next('subscribed')).toMatchObject({ wasRecovering: true, recovered: true });
        await native.publish(room, 101);
        await member.have(101);
        expect(member.offsets).toEqual(Array.from({ length: 101 }, (_, index) => index + 1));
        const codes = member.told.filter(({ event }) => event === 'connecting').map(({ code }) => code);
        if (end === 'drained') expect(codes.slice(-1)).toEqual([3001]);
      },
      60_000,
    );

    test('it brings a new token before the old one ends, on the open connection', async () => {
      const { url } = one;
      const tokens = await startTokens('guest', 6);
      const member = start(form, url, tokens, randomRoom('kept'));
      await member.next('subscribed');
      await until(() => tokens.asked() >= 3, 20_000, 'it has asked for three tokens');
      await member.ask('publish 1', 'published');
      expect(member.told.filter(({ event }) => event === 'connecting').length).toBeLessThan(2);
      expect(member.told.some(({ event }) => event === 'disconnected')).toBe(false);
    }, 60_000);
  });
});

/** The index of the node that the one member of the cluster is on. */
async function nodeOfMember(nodes: readonly SpawnedNode[]): Promise<number> {
  const members = async ({ adminPort }: SpawnedNode) => {
    const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
    return Number(/^gateway_subscriptions (\d+)/m.exec(text)?.[1]);
  };
  const counts = await Promise.all(nodes.map(members));
  expect(counts.toSorted()).toEqual([0, 1]);
  return counts.indexOf(1);
}
