/**
 * `roomcast publish` as a process, against real nodes; and what `publish` and `tail` say when they cannot do their work.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join as joinPath } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { subprotocol } from '../../shared/protocol.ts';
import { folder } from '../integration/files.ts';
import { join, randomRoom, tokenOf } from '../integration/people.ts';
import { outcomeOf } from '../integration/program.ts';
import { onCleanup } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';

let node: TestNode;
let token: string;
beforeAll(async () => {
  const rules = joinPath(folder(), 'rooms.json');
  writeFileSync(rules, JSON.stringify({ rooms: [{ match: 'kept:*', history: {} }] }));
  node = await startNode({ ROOMS_FILE: rules });
  token = await tokenOf('alice');
});

const as = (url: string, text = token) => ({ ROOMCAST_URL: url, ROOMCAST_TOKEN: text });

test('sends JSON as JSON and text as text, byte for byte, and says where the message is', async () => {
  const room = randomRoom('kept');
  const member = await join(node, 'bob', room);
  for (const [data, sent, ...options] of [
    ['hello', '"hello"'],
    ['{"n":  1.0}', '{"n":  1.0}'],
    ['12', '12'],
    ['12', '"12"', '--text'],
    ['{', '"{"', '--text'],
  ] as const) {
    const { code, stdout, stderr } = await outcomeOf(['publish', room, data, ...options], as(node.url));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^published to ${room}, offset \\d+ of epoch [\\w-]+\n$`));
    expect(await member.next('message')).toMatchObject({ data: JSON.parse(sent), from: 'alice' });
  }
});

test('with --key a repeat is a duplicate, and --json prints the answer', async () => {
  const room = randomRoom('kept');
  const publish = ['publish', room, 'paid', '--key', 'order-7', '--json'];
  const first = JSON.parse((await outcomeOf(publish, as(node.url))).stdout);
  const again = JSON.parse((await outcomeOf(publish, as(node.url))).stdout);
  expect(first).toEqual({ room, epoch: expect.any(String), offset: 1 });
  expect(again).toEqual({ ...first, duplicate: true });
});

test.each([
  [['publish', 'a room', 'x'], /'a room' is invalid for argument 'room'.*1 to 200 characters/],
  [['publish', 'room'], /missing required argument 'data'/],
  [['publish', 'room', '{"a"'], /DATA is not JSON.*--text/],
  [['publish', 'room', 'x', '--url', 'http://here'], /must be a URL that begins with ws:/],
  [['publish', 'room', 'x', '--token', 'Bearer a.b'], /--token .* is no token/],
  [['tail', 'room', '--since', '12'], /must be an epoch, a colon and an offset/],
  [['tail', 'room', '--count', '0'], /must be a number from 1/],
  [['tail'], /missing required argument 'room'/],
])('%j is answered by one sentence and exit code 2', async (args, sentence) => {
  const { code, stdout, stderr } = await outcomeOf(args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(sentence);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stderr).not.toContain('Bearer');
});
describe.each(['publish', 'tail'])('%s ends with 1 and says what to do', (name) => {
  const args = (room: string) => (name === 'publish' ? [name, room, 'x'] : [name, room]);

  test.each([
    ['a token of another issuer', () => mintToken({ sub: 'alice' }, 'another-secret-of-more-than-32-bytes-0'), /4501/],
    ['a token without the right', () => mintToken({ sub: 'alice' }), /^error: forbidden: /],
    ['no token', async () => '', /^error: unauthorized: .*Give --token or ROOMCAST_TOKEN/],
  ])('to %s', async (_what, tokenFor, sentence) => {
    const { code, stdout, stderr } = await outcomeOf(args(randomRoom()), as(node.url, await tokenFor()));
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(sentence);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  test('when no node is there, or what answers is none', async () => {
    const away = await outcomeOf(args('room'), as(`ws://127.0.0.1:${await freePort()}/ws`));
    expect(away).toMatchObject({ code: 1, stdout: '' });
    expect(away.stderr).toMatch(/^error: cannot connect to ws:.*ECONNREFUSED.*check --url/);
    const wrong = await outcomeOf(args('room'), as(node.url.replace('/ws', '/elsewhere')));
    expect(wrong).toMatchObject({ code: 1, stdout: '' });
    expect(wrong.stderr).toMatch(/answered HTTP 404.*ends with \/ws/);
  });
});

test('publish says that the outcome is unknown when the connection ends before the answer', async () => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => subprotocol });
  onCleanup(() => server.close());
  server.on('connection', (socket) => socket.on('message', () => socket.terminate()));
  await once(server, 'listening');
  const publish = ['publish', 'room', 'x', '--url', `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`];
  const { code, stdout, stderr } = await outcomeOf(publish);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/ended \(1006\)\. It is unknown whether the message was taken: with --key/);
  expect((await outcomeOf([...publish, '--key', '1'])).stderr).toMatch(/repeat it with the same --key/);
});
