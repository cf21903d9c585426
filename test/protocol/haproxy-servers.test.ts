/**
 * What deploy/haproxy/haproxy.cfg says of servers that go and of HAProxy's own reload, with HAProxy as a process: who is
 * connected stays, and who comes is served soon. With Docker's DNS it is shown by test/compose.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { beforeAll, expect, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { handshake } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';
import { startHaproxy } from './haproxy.ts';
import { protocolSettings } from './suite.ts';
import { answerTo, expectServed, open } from './target.ts';

let node: TestNode;

beforeAll(async () => {
  node = await startNode({ ...protocolSettings, TRUSTED_PROXIES: '127.0.0.1' });
});

/** A port at which connections hang as they do at the address of a container that was killed: SYN without an answer. */
async function silentPort(): Promise<number> {
  const script =
    'const server = require("node:net").createServer().listen({ host: "127.0.0.1", port: 0, backlog: 1 }, () => console.log(server.address().port));';
  const listener = spawn(process.execPath, ['--eval', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  endWithThisProcess(listener);
  onCleanup(() => listener.kill('SIGKILL'));
  const [line] = await once(createInterface(listener.stdout), 'line');
  const port = Number(line);
  // Stopped, it takes nothing from the queue; the kernel drops what comes to a full one.
  listener.kill('SIGSTOP');
  await until(async () => !(await connects(port)), 10_000, 'the queue is full');
  return port;
}

/** Whether a connection opens within a second. It stays open until the test ends. */
async function connects(port: number): Promise<boolean> {
  const socket = connect({ port, host: '127.0.0.1' });
  onCleanup(() => socket.destroy());
  return Promise.race([
    once(socket, 'connect').then(() => true),
    new Promise<boolean>((resolve) => setTimeout(resolve, 1_000, false)),
  ]);
}

test('a replica that was killed a moment ago, and is the emptiest, costs a client less than 1.5 s', async () => {
  const haproxy = await startHaproxy(node, { otherServer: await silentPort() });
  // Whoever comes to the node at once makes it the fuller one.
  for (let count = 0; count < 3; count++) {
    const began = performance.now();
    await expectServed(await open(haproxy));
    expect(performance.now() - began).toBeLessThan(1_500);
  }
});

test('a reload keeps who is connected and refuses nobody who comes', async () => {
  const haproxy = await startHaproxy(node);
  const member = await open(haproxy);
  let reloaded = false;
  const comeAndGo = async () => {
    while (!reloaded) (await open(haproxy)).destroy();
  };
  const visitors = [comeAndGo(), comeAndGo()];
  await haproxy.reload();
  reloaded = true;
  await Promise.all(visitors);
  await expectServed(member);
});

test('what a reload leaves with the old process is cut after the hard stop', async () => {
  const haproxy = await startHaproxy(node, { hardStop: '1s' });
  const member = await open(haproxy);
  await haproxy.reload();
  await member.ended(10_000);
  await expectServed(await open(haproxy));
});

test('while no replica is known, as for some milliseconds after a reload, a handshake waits 0.2 s before it is refused', async () => {
  const leaving = await startNode({ ...protocolSettings, TRUSTED_PROXIES: '127.0.0.1' });
  const haproxy = await startHaproxy(leaving);
  await leaving.stop();
  const state = async () => (await fetch(`http://127.0.0.1:${haproxy.statePort}/;csv`)).text();
  const noticed = async () => /^gateways,BACKEND,.*,DOWN,/m.test(await state());
  await until(noticed, 10_000, 'HAProxy has noticed that nobody is there');
  const began = performance.now();
  expect((await answerTo(haproxy, handshake())).status).toBe(503);
  expect(performance.now() - began).toBeGreaterThan(190);
});
