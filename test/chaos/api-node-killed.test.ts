/**
 * Every call of the HTTP API by curl, against a node that holds none of the connections in question, at the moment at which
 * another node was killed: what the living nodes say is right, the dead one is `missing`, and nothing takes 2.5 s, beside what a
 * call that asks nobody takes on a busy machine.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { routes } from '../../gateway/http/api/routes.ts';
import { apiKey } from '../integration/api.ts';
import { clusterSettings } from '../integration/cluster.ts';
import { roomsFile } from '../integration/files.ts';
import { enter, randomRoom } from '../integration/people.ts';
import type { Client } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { until } from '../support/until.ts';

/** The deadline for confirmations is 2 s. */
const answeredSeconds = 2.5;
/** The name of the route that takes a call. */
function routeOf(method: string, path: string): string | undefined {
  const isOf = (template: string) => new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path);
  return routes.find((route) => route.method === method && isOf(route.path))?.name;
}

interface Called {
  status: number;
  seconds: number;
  // biome-ignore lint/suspicious/noExplicitAny: each call has its own answer.
  json: any;
}

async function curl(node: SpawnedNode, method: string, path: string, body?: object): Promise<Called> {
  const words = ['--silent', '--show-error', '--request', method, '--header', `authorization: Bearer ${apiKey}`];
  if (body !== undefined) words.push('--header', 'content-type: application/json', '--data', JSON.stringify(body));
  words.push('--write-out', '\n%{http_code} %{time_total}', `http://127.0.0.1:${node.adminPort}${path}`);
  const { stdout } = await promisify(execFile)('curl', words, { timeout: 15_000 });
  const end = stdout.lastIndexOf('\n');
  const [status, seconds] = stdout
    .slice(end + 1)
    .split(' ')
    .map(Number);
  return { status: status ?? 0, seconds: seconds ?? Number.NaN, json: JSON.parse(stdout.slice(0, end)) };
}

async function threeNodes(): Promise<[SpawnedNode, SpawnedNode, SpawnedNode]> {
  const settings = {
    ...clusterSettings(),
    ...{ API_KEY: apiKey, ROOMS_FILE: roomsFile({ match: 'kept:*', history: {}, presence: true }) },
  };
  const start = (NODE_ID: string) => spawnNode({ ...settings, NODE_ID });
  const nodes = [await start('asked'), await start('alive'), await start('dead')] as const;
  const there = async () => (await curl(nodes[0], 'GET', '/api/nodes')).json.nodes.length === nodes.length;
  await until(there, 10_000, 'three nodes are there');
  return [...nodes];
}

const idOf = ({ frames: [welcome] }: Client) => (welcome?.type === 'welcome' ? welcome.connection : '');

/** A user of each call, so that all calls can be made at once: with a connection on each of both nodes. */
async function people(alive: SpawnedNode, dead: SpawnedNode, room: string) {
  const users = ['ann', 'blocked', 'ended', 'added', 'removed', 'told'] as const;
  const at = async (node: SpawnedNode) =>
    Object.fromEntries(await Promise.all(users.map(async (user) => [user, await enter(node, user)] as const)));
  const [here, there] = [await at(alive), await at(dead)] as Record<(typeof users)[number], Client>[];
  if (here === undefined || there === undefined) throw new Error('two nodes');
  for (const { ann, removed } of [here, there]) for (const member of [ann, removed]) await member.subscribe(room);
  for (const { told } of [here, there]) await told.subscribe('@told');
  return { here, there };
}

test('while a node was just killed, every call is right or says what is missing, within 2.5 s; later nothing is missing', async () => {
  const [asked, alive, dead] = await threeNodes();
  const [room, other] = [randomRoom('kept'), randomRoom('kept')];
  const { here, there } = await people(alive, dead, room);
  const [inRoom, ofOther] = [encodeURIComponent(room), encodeURIComponent(other)];
  const present = async () => (await curl(asked, 'GET', `/api/rooms/${inRoom}/members`)).json.count === 4;
  await until(present, 10_000, 'the members of both nodes are written');
  dead.kill('SIGKILL');
  await dead.exited;

  const missing = ['dead'];
  /** Status, and a part of the answer; in the order of the calls. */
  const calls: [method: string, path: string, body: object | undefined, status: number, answer: object][] = [
    ['POST', `/api/rooms/${inRoom}/messages`, { data: 'hello' }, 200, { offset: expect.any(Number) }],
    ['POST', '/api/broadcast', { rooms: [other], data: 'all' }, 200, { results: [{ room: other, offset: 1 }] }],
    ['POST', '/api/users/told/messages', { data: 'yours' }, 200, { id: expect.any(String) }],
    ['GET', `/api/rooms/${ofOther}x/messages`, undefined, 200, { offset: 0, messages: [] }],
    // Until it is reaped the dead node's members are in the room.
    ['GET', `/api/rooms/${inRoom}/members`, undefined, 200, { users: 2 }],
    [
      'GET',
      `/api/rooms?prefix=${encodeURIComponent('@told')}`,
      undefined,
      202,
      { rooms: [{ room: '@told', members: 1 }], missing },
    ],
    [
      'GET',
      '/api/connections?user=ann',
      undefined,
      202,
      { connections: [{ connection: idOf(here.ann), node: 'alive' }], missing },
    ],
    ['GET', '/api/connections?user=ann&node=alive', undefined, 200, { connections: [{ connection: idOf(here.ann) }] }],
    ['GET', '/api/connections?user=ann&node=dead', undefined, 202, { connections: [], missing }],
    ['POST', '/api/users/blocked/disconnect', { blockSeconds: 600 }, 202, { disconnected: 1, missing }],
    ['POST', `/api/connections/${idOf(here.ended)}/disconnect`, undefined, 200, { disconnected: 1 }],
    ['POST', `/api/connections/${idOf(there.ended)}/disconnect`, undefined, 202, { disconnected: 0, missing }],
    ['POST', `/api/rooms/${ofOther}/members/added`, undefined, 202, { subscribed: 1, missing }],
    ['DELETE', `/api/rooms/${inRoom}/members/removed`, undefined, 202, { removed: 1, missing }],
    ['GET', '/api/nodes', undefined, 202, { nodes: [{ node: 'alive' }, { node: 'asked' }], missing }],
    ['GET', '/api/stats', undefined, 202, { nodes: 2, missing }],
  ];
  const called = calls.map(([method, path]) => routeOf(method, path.split('?')[0] ?? ''));
  expect(new Set(called)).toEqual(new Set(routes.filter(({ open }) => !open).map(({ name }) => name)));

  const answers = await Promise.all(calls.map(([method, path, body]) => curl(asked, method, path, body)));
  // Calls that wait for no other node tell how slow the machine is.
  const unasked = answers.filter((_, at) => calls[at]?.[3] === 200 && !calls[at]?.[1].startsWith('/api/connections'));
  const machineSeconds = Math.max(...unasked.map(({ seconds }) => seconds));
  expect(machineSeconds).toBeLessThan(2);
  for (const [at, [method, path, , status, answer]] of calls.entries()) {
    const { seconds, ...answered } = answers[at] as Called;
    expect.soft(answered, `${method} ${path}`).toMatchObject({ status, json: answer });
    expect.soft(seconds, `${method} ${path}`).toBeLessThan(answeredSeconds + machineSeconds);
    if (status === 200) expect.soft(answered.json, `${method} ${path}`).not.toHaveProperty('missing');
  }
  // Each was done, and nothing else.
  expect(await here.blocked.closed).toMatchObject({ code: 4503 });
  expect(await here.ended.closed).toMatchObject({ code: 4503 });
  expect(await here.added.next('subscribed')).toMatchObject({ room: other });
  expect(await here.removed.next('unsubscribed')).toMatchObject({ room, reason: 'kicked' });
  expect(await here.told.next('message')).toMatchObject({ room: '@told', data: 'yours' });
  expect(await here.ann.next('message')).toMatchObject({ room, data: 'hello' });
  expect(here.ann.frames.map(({ type }) => type)).not.toContain('unsubscribed');

  const whole = async () => (await curl(asked, 'GET', '/api/nodes')).status === 200;
  await until(whole, 15_000, 'the dead node is known to be dead');
  const later = await Promise.all(calls.map(([method, path, body]) => curl(asked, method, path, body)));
  for (const [at, { json, status }] of later.entries()) {
    expect.soft(status, calls[at]?.[1]).toBe(200);
    expect.soft(json, calls[at]?.[1]).not.toHaveProperty('missing');
  }
}, 60_000);
