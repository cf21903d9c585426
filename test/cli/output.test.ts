/**
 * A standard output that takes nothing: a full disk, a pipe or a terminal that nobody reads, a pipe whose reader is gone.
 * The node serves and stops as ever; what it loses is lines of its log, and it says how many.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync, writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { expect, test } from 'vitest';
import { metric, readiness } from '../integration/admin.ts';
import { folder, writeFile } from '../integration/files.ts';
import { carrying, join, randomRoom } from '../integration/people.ts';
import { type Program, run, runInTerminal } from '../integration/program.ts';
import { onCleanup } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import { testSecret } from '../support/token.ts';
import { until } from '../support/until.ts';

const linesDropped = 'gateway_log_lines_dropped_total';
/** A rooms file of 1,000 mistakes. The log tells of all of them in one line, each by this name. */
const mistaken = (name: string) =>
  JSON.stringify({ rooms: Array.from({ length: 1_000 }, () => ({ match: 'a', [name]: 1 })) });

interface Node {
  url: string;
  adminPort: number;
  program: Pick<Program, 'kill' | 'ended'>;
}

/** The environment of a node on free ports; what it writes need not be read to know them. */
async function settings() {
  const [port, adminPort] = [await freePort(), await freePort()];
  const rooms = writeFile('rooms.json', '{"rooms": []}');
  return {
    GATEWAY_PORT: `${port}`,
    GATEWAY_ADMIN_PORT: `${adminPort}`,
    GATEWAY_JWT_SECRET: testSecret,
    GATEWAY_ROOMS_FILE: rooms,
    GATEWAY_DRAIN_MS: '1500',
  };
}

async function startInto(standardOutput: number): Promise<Node & { roomsFile: string }> {
  const environment = await settings();
  const program = run(environment, standardOutput);
  return { ...(await running(environment, program)), roomsFile: environment.GATEWAY_ROOMS_FILE };
}

type Ports = { GATEWAY_PORT: string; GATEWAY_ADMIN_PORT: string };

async function running(environment: Ports, program: Node['program']): Promise<Node> {
  const adminPort = Number(environment.GATEWAY_ADMIN_PORT);
  await until(async () => (await readiness({ adminPort })) === 200, 10_000, 'the node is ready');
  return { url: `ws://127.0.0.1:${environment.GATEWAY_PORT}/ws`, adminPort, program };
}

/** True when nobody answers on the admin port any more. */
function refuses(node: Node): Promise<boolean> {
  return readiness(node).then(
    () => false,
    () => true,
  );
}

/** Has it write long lines until it has to leave some out. Lines that are alike would be counted, and not written. */
async function fill(node: Node & { roomsFile: string }): Promise<void> {
  let round = 0;
  const full = async () => {
    writeFileSync(node.roomsFile, mistaken(`${++round}${'x'.repeat(400)}`));
    node.program.kill('SIGHUP');
    return (await metric(node, linesDropped)) > 0;
  };
  await until(full, 10_000, 'lines are left out');
}

async function expectServed(node: Node): Promise<void> {
  const room = randomRoom();
  const client = await join(node, 'user', room);
  await client.publish(room, 'hello');
  await client.next(carrying(room, 'hello'));
  await client.close();
}

/** The client is asked to move, then told to: a drain as ever. */
async function expectDrain(node: Node): Promise<void> {
  const client = await join(node, 'user', randomRoom());
  node.program.kill('SIGTERM');
  await client.next('reconnect');
  expect(await client.closed).toMatchObject({ code: 4001 });
  expect(await node.program.ended()).toBe(0);
}

/** A pipe of the kernel, with an end for the program, and one that is read here and only on demand. */
class Pipe {
  readonly path = joinPath(folder(), 'pipe');
  #reader: number;
  #text = '';

  constructor() {
    execFileSync('mkfifo', [this.path]);
    this.#reader = this.#open();
  }

  /** Gives the end for the program to `start`, and closes it here. */
  async startInto(): Promise<Node & { roomsFile: string }> {
    const writer = openSync(this.path, constants.O_WRONLY);
    try {
      return await startInto(writer);
    } finally {
      closeSync(writer);
    }
  }

  /** What has been written so far, line by line; the last one may be cut. */
  lines(): { msg?: string; lines?: number; error?: string; mistakes?: string[] }[] {
    this.#read();
    const complete = this.#text.slice(0, this.#text.lastIndexOf('\n'));
    return complete.split('\n').map((line) => JSON.parse(line));
  }

  loseReader(): void {
    closeSync(this.#reader);
    this.#reader = -1;
  }

  readAgain(): void {
    this.#reader = this.#open();
  }

  #open(): number {
    const reader = openSync(this.path, constants.O_RDONLY | constants.O_NONBLOCK);
    onCleanup(() => this.#reader === reader && closeSync(reader));
    return reader;
  }

  #read(): void {
    const chunk = Buffer.alloc(65_536);
    for (;;) {
      try {
        const length = readSync(this.#reader, chunk);
        if (length === 0) return;
        this.#text += chunk.toString('utf8', 0, length);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return;
        throw error;
      }
    }
  }
}

test('a full disk: clients are served, health and SIGTERM are obeyed, lines that are left out are counted', async () => {
  // Every write to it fails with ENOSPC.
  const full = openSync('/dev/full', constants.O_WRONLY);
  onCleanup(() => closeSync(full));
  const node = await startInto(full);
  await expectServed(node);
  await fill(node);
  await expectServed(node);
  expect(await readiness(node)).toBe(200);
  await expectDrain(node);
});

test('development mode on a full disk: what it greets with is lost, the node is not', async () => {
  const full = openSync('/dev/full', constants.O_WRONLY);
  onCleanup(() => closeSync(full));
  const { GATEWAY_PORT, GATEWAY_ADMIN_PORT } = await settings();
  const node = await running({ GATEWAY_PORT, GATEWAY_ADMIN_PORT }, run({ GATEWAY_PORT, GATEWAY_ADMIN_PORT }, full));
  const token = await fetch(`http://127.0.0.1:${GATEWAY_PORT}/demo/token`);
  expect(await token.text()).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
  node.program.kill('SIGTERM');
  expect(await node.program.ended()).toBe(0);
});

test('a pipe that nobody reads holds up nothing; when it is read again, whole lines come, and how many were left out', async () => {
  const pipe = new Pipe();
  const node = await pipe.startInto();
  await fill(node);
  await expectServed(node);
  const told = () => pipe.lines().filter(({ lines }) => lines !== undefined);
  await until(() => told().length > 0, 10_000, 'it is told how many lines were left out');
  expect(told()).toMatchObject([{ level: 'error', lines: await metric(node, linesDropped), error: 'EAGAIN' }]);
  expect(pipe.lines().at(0)?.msg).toBe('listening');
  await expectDrain(node);
  expect(pipe.lines().at(-1)?.msg).toBe('stopped');
  expect(told()).toHaveLength(1);
});

test('a pipe whose reader is gone holds up nothing, and is used again by the next reader', async () => {
  const pipe = new Pipe();
  const node = await pipe.startInto();
  pipe.loseReader();
  await fill(node);
  await expectServed(node);
  pipe.readAgain();
  const told = () => pipe.lines().find(({ lines }) => lines !== undefined);
  expect(await until(told, 10_000, 'it is told how many lines were left out')).toMatchObject({ error: 'EPIPE' });
  await expectDrain(node);
});

test('a reader that is behind when the node stops still gets the last lines', async () => {
  const pipe = new Pipe();
  const node = await pipe.startInto();
  // More than a pipe holds, less than the node keeps for later.
  writeFileSync(node.roomsFile, mistaken('x'));
  node.program.kill('SIGHUP');
  await until(
    async () => (await metric(node, 'gateway_reloads_total{what="rooms",result="refused"}')) > 0,
    5_000,
    'it has told the mistakes',
  );
  node.program.kill('SIGTERM');
  await until(() => refuses(node), 5_000, 'the node has stopped but for its last lines');
  await until(() => pipe.lines().at(-1)?.msg === 'stopped', 5_000, 'the last line');
  expect(await node.program.ended()).toBe(0);
  expect(pipe.lines().find(({ mistakes }) => mistakes !== undefined)?.mistakes).toHaveLength(1_000);
});

test('a terminal that was stopped holds up nothing', async () => {
  // In development the loss of a terminal ends the program: SIGHUP would not be what `fill` needs.
  const environment = { ...(await settings()), NODE_ENV: 'production', GATEWAY_HOST: '127.0.0.1' };
  const program = await runInTerminal(environment);
  const node = { ...(await running(environment, program)), roomsFile: environment.GATEWAY_ROOMS_FILE };
  await fill(node);
  await expectServed(node);
  const client = await join(node, 'user', randomRoom());
  program.kill('SIGTERM');
  expect(await client.closed).toMatchObject({ code: 4001 });
  program.read();
  expect(await program.ended()).toBe(0);
});
