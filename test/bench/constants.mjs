/**
 * `node test/bench/constants.mjs`: measures the costs of one Redis, the constants of gateway/cli/plan/constants.ts that begin with
 * `redis`. Takes about a minute and needs `redis-server` on the PATH. It runs the gateway's own scripts.
 *
 * CPU is read from Redis itself (INFO cpu), with enough commands under way to keep it near its limit: below that each command
 * costs more, because fewer share a wake-up. It owns the Redis that it starts.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { Redis } from 'ioredis';

const publishers = 16;
const commandsUnderWay = 1;
const measureMs = 1_500;
const rooms = 1_000;

const port = await freePort();
const settings = ['--save', '', '--appendonly', 'no', '--client-output-buffer-limit', 'pubsub', '0', '0', '0'];
const command = ['redis-server', '--port', String(port), '--bind', '127.0.0.1', ...settings];
// On a separate core if there are two, so that it is not moved.
const [program = '', ...rest] = availableParallelism() > 1 ? ['taskset', '-c', '1', ...command] : command;
const server = spawn(program, rest, { stdio: 'ignore' });
process.on('exit', () => server.kill('SIGKILL'));
const redis = new Redis({ port });
redis.on('error', () => undefined);
await redis.info();

const results = {};
await subscriptions();
for (const nodes of [0, 1, 2, 4, 8, 16]) await publishes(nodes, 128);
await publishes(4, 1024);
await history();
await presence();
await beats();
process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
process.exit(0);

/** Bytes and CPU of a subscription: `nodes` clients, each subscribed to the same 100,000 channels. */
async function subscriptions() {
  const channels = 100_000;
  for (const nodes of [1, 2, 4]) {
    const before = await field('memory', 'used_memory');
    const cpu = await cpuUs();
    const nodeSockets = await Promise.all(Array.from({ length: nodes }, () => subscriber(channels)));
    const us = (await cpuUs()) - cpu;
    const bytes = (await field('memory', 'used_memory')) - before;
    results[`subscription of ${channels} channels, ${nodes} nodes`] = {
      bytesPerChannel: Math.round(bytes / channels),
      usPerNodeAndChannel: round(us / channels / nodes),
    };
    for (const socket of nodeSockets) socket.destroy();
    await until(async () => (await field('stats', 'pubsub_channels')) === 0);
  }
}

async function publishes(nodes, bytes) {
  const sockets = await Promise.all(Array.from({ length: nodes }, () => subscriber(rooms)));
  const payload = 'x'.repeat(bytes);
  results[`PUBLISH of ${bytes} B, ${nodes} nodes`] = await busy((pipeline, n) =>
    pipeline.publish(channel(n % rooms), payload),
  );
  for (const socket of sockets) socket.destroy();
}

async function history() {
  const append = await script('script', 'history/room', 'history/append');
  const read = await script('script', 'history/room', 'history/read');
  const run = /run_id:(\w+)/.exec(await redis.info())?.[1] ?? '';
  const keys = (n) => ['rc:line', `${channel(n)}:position`, `${channel(n)}:messages`];
  const [week, prefix] = [604_800_000, `{"type":"message","room":"r1","data":"${'x'.repeat(128)}","offset":`];
  for (const nodes of [0, 1, 4]) {
    const sockets = await Promise.all(Array.from({ length: nodes }, () => subscriber(rooms)));
    const before = await field('memory', 'used_memory');
    // As written by a node with one message per turn, and by a node with many.
    for (const atOnce of [1, 16]) {
      results[`history/append.lua, ${atOnce} at once, ${nodes} nodes`] = await busy((pipeline, n) => {
        const messages = Array.from({ length: atOnce }, (_, index) => (n * atOnce + index) % rooms);
        return pipeline.evalsha(
          append,
          1 + 3 * atOnce,
          ...['rc:line', ...messages.flatMap((each) => [...keys(each).slice(1), `${channel(each)}:position`])],
          ...[run, '', `e${atOnce}-${n}`, 120_000, 1, 100, 4_194_304, 86_400_000, week],
          ...messages.flatMap((each) => ['', 0, 1, channel(each), '1h1700000000000', prefix, '}']),
        );
      });
    }
    if (nodes === 0) {
      // Now each room holds its 100 messages.
      const bytes = (await field('memory', 'used_memory')) - before;
      results.historyBytesPerMessage = Math.round(bytes / (100 * rooms));
    }
    for (const socket of sockets) socket.destroy();
  }
  results['history/read.lua, nothing new'] = await busy((pipeline, n) =>
    pipeline.evalsha(
      read,
      3,
      ...keys(n % rooms),
      ...[run, '', `e${n}`, '', 0, '*', 1_000_000, Number.MAX_SAFE_INTEGER, 0, 262_144, week, week],
    ),
  );
}

async function presence() {
  const change = await script('presence/room', 'presence/change');
  const members = 10;
  const member = (n) => `node-${String(n).padStart(12, '0')}\n1\n"user-${n}"\n`;
  const evaluate = (pipeline, n, entered, left) => {
    const room = channel(Math.floor(n / members) % 100_000);
    const list = [...entered, ...left];
    const about = [room, 'r1', '1700000000000', '', '', '', 1000, 262_144, 0, 500, 3_600_000, entered.length];
    const keys = [`${room}:members`, `${room}:users`, `${room}:counted`];
    pipeline.evalsha(change, 3, ...keys, ...about, ...list);
  };
  const before = await field('memory', 'used_memory');
  const entered = await busy((pipeline, n) => evaluate(pipeline, n, [member(n)], []));
  results['presence/change.lua, one enters'] = entered;
  results.presenceBytesPerMember = Math.round(((await field('memory', 'used_memory')) - before) / entered.commands);
  results['presence/change.lua, one leaves'] = await busy((pipeline, n) => evaluate(pipeline, n, [], [member(n)]));
}

/** The command of each node every second: raises its own beat, and reads those of all. */
async function beats() {
  for (const nodes of [10, 100, 1000]) {
    await redis.del('rc:nodes');
    for (let node = 0; node < nodes; node++)
      await redis.hset('rc:nodes', `${String(node).padStart(12, '0')}.1`, '12345');
    results[`a beat among ${nodes} nodes`] = await busy((pipeline, n) =>
      pipeline.hincrby('rc:nodes', `${String(n % nodes).padStart(12, '0')}.1`, 1).hgetall('rc:nodes'),
    );
  }
}

/** Keeps Redis busy with `command`, numbered, and returns its CPU per command. */
async function busy(command) {
  const clients = Array.from({ length: publishers }, () => new Redis({ port }));
  await Promise.all(clients.map((client) => client.ping()));
  let commands = 0;
  const began = performance.now();
  const cpu = await cpuUs();
  await Promise.all(
    clients.map(async (client) => {
      while (performance.now() - began < measureMs) {
        const pipeline = client.pipeline();
        for (let each = 0; each < commandsUnderWay; each++) command(pipeline, commands++);
        for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error;
      }
    }),
  );
  const us = ((await cpuUs()) - cpu) / commands;
  const share = ((await cpuUs()) - cpu) / 1000 / (performance.now() - began);
  for (const client of clients) client.disconnect();
  return { us: round(us), commands, share: round(share) };
}

/** A raw connection subscribed to the first `count` channels; it reads and ignores all messages. */
async function subscriber(count) {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  let answers = 0;
  socket.on('data', (bytes) => {
    for (let at = bytes.indexOf(':'); at >= 0 && answers < count; at = bytes.indexOf(':', at + 1)) answers++;
  });
  for (let first = 0; first < count; first += 1000) {
    const names = Array.from({ length: Math.min(1000, count - first) }, (_, index) => channel(first + index));
    const parts = ['SUBSCRIBE', ...names].map((part) => `$${part.length}\r\n${part}\r\n`);
    socket.write(`*${parts.length}\r\n${parts.join('')}`);
  }
  await until(async () => answers >= count);
  return socket;
}

function channel(n) {
  return `rc/{room-${String(n).padStart(6, '0')}}`;
}

function script(...names) {
  const read = (name) => readFileSync(new URL(`../../gateway/redis/${name}.lua`, import.meta.url), 'utf8');
  return redis.script('LOAD', names.map(read).join(''));
}

async function cpuUs() {
  return ((await field('cpu', 'used_cpu_user')) + (await field('cpu', 'used_cpu_sys'))) * 1e6;
}

async function field(section, name) {
  return Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(await redis.info(section))?.[1]);
}

async function until(condition) {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}

function round(number) {
  return Math.round(number * 100) / 100;
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port: found } = probe.address();
  probe.close();
  return found;
}
