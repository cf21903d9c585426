/**
 * The commands of `roomcast` that ask the whole cluster, as processes: rooms, members, connections, disconnect, nodes. They
 * ask a node that holds none of the connections.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join as joinPath } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { apiKey } from '../integration/api.ts';
import { clusterSettings, untilThere } from '../integration/cluster.ts';
import { folder, roomsFile } from '../integration/files.ts';
import { everywhere, join, names, randomRoom } from '../integration/people.ts';
import { outcomeOf } from '../integration/program.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type Client, connect, connectWelcomed } from '../support/client.ts';
import { freePort } from '../support/free-port.ts';
import { type StartedNode, spawnNode, startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';

let near: StartedNode;
let far: StartedNode;
const settings = () => ({
  ...clusterSettings(),
  ...{ API_KEY: apiKey, REQUEST_RATE: 0, PING_INTERVAL_MS: 30_000 },
  ROOMS_FILE: roomsFile({ match: 'kept:*', history: {}, presence: true }),
});

beforeAll(async () => {
  const all = settings();
  near = await startNode({ ...all, NODE_ID: 'near' });
  far = await startNode({ ...all, NODE_ID: 'far' });
  await untilThere(far, 'far', 'near');
});

const apiOf = ({ adminPort }: { adminPort: number }) => `http://127.0.0.1:${adminPort}`;
const environment = () => ({ ROOMCAST_API: apiOf(far), ROOMCAST_KEY: apiKey });

/** What it printed, when it has ended well. */
async function printed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await outcomeOf(args, environment());
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

const idOf = ({ frames: [welcome] }: Client) => (welcome?.type === 'welcome' ? welcome.connection : '');

/** The cells of each line. */
const cellsOf = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {2,}/));

test('rooms are listed with their members, as a table and as JSON, over pages and up to --limit', async () => {
  const prefix = `${randomRoom('list')}/`;
  const rooms = names(prefix, 1_100).sort();
  const clients = await Promise.all(names('reader', 11).map((user) => join(near, user)));
  await Promise.all(rooms.map((room, at) => clients[at % clients.length]?.subscribe(room)));
  const table = cellsOf(await printed('rooms', '--prefix', prefix, '--limit', '2k'));
  expect(table).toEqual([['ROOM', 'MEMBERS'], ...rooms.map((room) => [room, '1'])]);
  const list = JSON.parse(await printed('rooms', '--prefix', prefix, '--limit', '1100', '--json'));
  expect(list).toEqual({ rooms: rooms.map((room) => ({ room, members: 1 })) });
  const { code, stdout, stderr } = await outcomeOf(['rooms', '--prefix', prefix, '--limit', '1050'], environment());
  expect([code, cellsOf(stdout)]).toEqual([0, table.slice(0, 1_051)]);
  expect(stderr).toBe('There are more; --limit takes a higher number.\n');
}, 60_000);

test('members and connections are listed with who and where they are; names cannot write to the terminal', async () => {
  const room = randomRoom('kept');
  const token = await mintToken({ sub: 'ann\u001b[31m', rooms: everywhere, info: { name: 'Ann' } });
  const ann = await connectWelcomed(near.url, token);
  await ann.subscribe(room);
  const bob = await join(near, 'bob', room);
  const all = async () => JSON.parse(await printed('members', room, '--json')).count === 2;
  await until(all, 10_000, 'both are present');
  expect(cellsOf(await printed('members', room))).toEqual([
    ['CONNECTION', 'USER', 'INFO'],
    [idOf(ann), 'ann\\u001b[31m', '{"name":"Ann"}'],
    [idOf(bob), 'bob', '-'],
  ]);
  expect(JSON.parse(await printed('members', room, '--json'))).toEqual({
    ...{ count: 2, users: 2 },
    members: [
      { connection: idOf(ann), user: 'ann\u001b[31m', info: { name: 'Ann' } },
      { connection: idOf(bob), user: 'bob' },
    ],
  });
  const opened = expect.stringMatching(/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(cellsOf(await printed('connections', '--room', room, '--user', 'bob', '--node', 'near'))).toEqual([
    ['CONNECTION', 'USER', 'NODE', 'ADDRESS', 'OPENED', 'ROOMS', 'BUFFERED', 'RTT'],
    [idOf(bob), 'bob', 'near', '127.0.0.1', opened, '1', '0 B', expect.stringMatching(/^(-|\d+ ms)$/)],
  ]);
  const { connections } = JSON.parse(await printed('connections', '--room', room, '--json'));
  expect(connections.map(({ connection }: { connection: string }) => connection)).toEqual([idOf(ann), idOf(bob)]);
  expect(cellsOf(await printed('connections', '--node', 'elsewhere'))).toHaveLength(1);
});

test('disconnect closes all connections of a user, blocks the user for a time, and ends that', async () => {
  const user = `ann/${randomRoom()} é`;
  const anns = [await join(near, user), await join(near, user)];
  expect(await printed('disconnect', user)).toBe(`disconnected 2 connections of ${user}\n`);
  for (const ann of anns) expect(await ann.closed).toMatchObject({ code: 4503 });
  await join(near, user);
  expect(await printed('disconnect', user, '--block', '600')).toBe(
    `disconnected 1 connection of ${user}; blocked for 600 s\n`,
  );
  const refused = await connect(near.url, { token: await mintToken({ sub: user }) });
  expect(await refused.closed).toMatchObject({ code: 4503 });
  expect(JSON.parse(await printed('disconnect', user, '--block', '0', '--json'))).toEqual({ disconnected: 0 });
  await join(near, user);
});

test('nodes are listed with their state; key and address come from the settings of a node, too', async () => {
  const table = cellsOf(await printed('nodes'));
  expect(table[0]).toEqual(['NODE', 'VERSION', 'STARTED', 'CONNECTIONS', 'ROOMS', 'STATE', 'BACKPLANE RTT']);
  expect(table.slice(1).map((cells) => [cells[0], cells[5]])).toEqual([
    ['far', 'serving'],
    ['near', 'serving'],
  ]);
  const file = joinPath(folder(), 'api-key');
  writeFileSync(file, `${apiKey},another-key-of-the-node\n`);
  const ofNode = { GATEWAY_API_KEY_FILE: file, GATEWAY_ADMIN_PORT: `${far.adminPort}` };
  const { code, stdout } = await outcomeOf(['nodes', '--json'], ofNode);
  expect({ code, nodes: JSON.parse(stdout).nodes.length }).toEqual({ code: 0, nodes: 2 });
  const url = await outcomeOf(['nodes', '--api', `${apiOf(far)}/api/`, '--key', apiKey]);
  expect(url).toMatchObject({ code: 0, stderr: '' });
});

test('a node that does not answer is named, the rest is printed, and the exit code is 1', async () => {
  const all = settings();
  const asked = await startNode({ ...all, NODE_ID: 'asked' });
  const dead = await spawnNode({ ...all, NODE_ID: 'dead' });
  await untilThere(asked, 'asked', 'dead');
  await join(asked, 'bob', 'here');
  await join(asked, 'ann');
  await join(dead, 'ann', 'there');
  dead.kill('SIGKILL');
  await dead.exited;
  const access = { ROOMCAST_API: apiOf(asked), ROOMCAST_KEY: apiKey };
  const [rooms, nodes, disconnected] = await Promise.all([
    outcomeOf(['rooms'], access),
    outcomeOf(['nodes', '--json'], access),
    outcomeOf(['disconnect', 'ann'], access),
  ]);
  expect(rooms).toMatchObject({ code: 1, stdout: expect.stringContaining('here') });
  expect(rooms.stderr).toMatch(/^error: no answer in time from dead: what it holds is not in the list\. Repeat/);
  expect({ code: nodes.code, ...JSON.parse(nodes.stdout) }).toMatchObject({ code: 1, missing: ['dead'] });
  expect(disconnected).toMatchObject({ code: 1, stdout: 'disconnected 1 connection of ann\n' });
  expect(disconnected.stderr).toMatch(/^error: no answer in time from dead: it may have connections of this user/);
});

describe.each([['rooms'], ['members', 'kept:a'], ['connections'], ['disconnect', 'nobody'], ['nodes']])(
  '%s ends with 1 and one sentence that says what to do',
  (...args) => {
    const failed = async (access: Record<string, string>) => {
      const { code, stdout, stderr } = await outcomeOf(args, access);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr.trim().split('\n')).toHaveLength(1);
      return stderr;
    };

    test('where no node is, or something else', async () => {
      const nothing = await failed({ ...environment(), ROOMCAST_API: `http://127.0.0.1:${await freePort()}` });
      expect(nothing).toMatch(/^error: http:.* does not answer: .*ECONNREFUSED.*; check --api/);
      const server = createServer((_, response) => response.end('<html>')).listen(0, '127.0.0.1');
      onCleanup(() => server.close());
      await once(server, 'listening');
      const wrong = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      expect(await failed({ ...environment(), ROOMCAST_API: wrong })).toMatch(
        /HTTP 200, which is no answer of the API/,
      );
      const port = `http://127.0.0.1:${far.port}`;
      expect(await failed({ ...environment(), ROOMCAST_API: port })).toMatch(/has no API: set GATEWAY_API_KEY/);
    });

    test('with a wrong key', async () => {
      expect(await failed({ ...environment(), ROOMCAST_KEY: 'a-wrong-key-for-the-tests' })).toMatch(
        /^error: unauthorized: .*Give it by --key or ROOMCAST_KEY/,
      );
    });
  },
);

test('members of a room without presence end with 1, and with what to do', async () => {
  const { code, stderr } = await outcomeOf(['members', 'plain'], environment());
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^error: forbidden: .*presence/) });
});

test.each([
  [['rooms'], /give --key or ROOMCAST_KEY/],
  [['rooms', '--key', 'my key'], /--key .* has white space/],
  [['rooms', '--api', '127.0.0.1:8081'], /must be a URL that begins with http:/],
  [['rooms', '--api', 'ws://127.0.0.1:8081'], /must be a URL that begins with http:/],
  [['rooms', '--api', 'http:/127.0.0.1:8081'], /must be a URL that begins with http:/],
  [['rooms', '--limit', '0'], /must be a number from 1/],
  [['members'], /missing required argument 'room'/],
  [['members', 'a room'], /A room name has/],
  [['connections', '--room', 'a room'], /A room name has/],
  [['disconnect'], /missing required argument 'user'/],
  [['disconnect', ''], /A user has 1 to 200 bytes/],
  [['connections', '--user', ''], /A user has 1 to 200 bytes/],
  [['disconnect', 'ann', '--block', '-1'], /must be a number from 0/],
  [['nodes', 'node1'], /too many arguments/],
])('%j is answered by one sentence and exit code 2', async (args, sentence) => {
  const { code, stdout, stderr } = await outcomeOf(args, { ROOMCAST_API: apiOf(far) });
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(sentence);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stderr).not.toContain('my key');
});

test.each([
  [['rooms', '--prefix', 'chat:*'], /prefix must be the beginning of the name of a room/],
  [['connections', '--node', 'a node'], /node must be the name of a node/],
])('%j is answered by the sentence of the API and exit code 2', async (args, sentence) => {
  const { code, stdout, stderr } = await outcomeOf(args, environment());
  expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(sentence) });
});
