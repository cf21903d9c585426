/**
 * What signals do to the program: those that stop it drain it, however often and by whichever way they come; the others
 * cut nobody.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { join, randomRoom } from '../integration/people.ts';
import { type Program, run, runByNpm, runInTerminal } from '../integration/program.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connect } from '../support/client.ts';
import { testSecret } from '../support/token.ts';
import { until } from '../support/until.ts';

const settings = { GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0', GATEWAY_JWT_SECRET: testSecret };
/** The first third of it passes before a client that stays is closed. */
const draining = { ...settings, GATEWAY_DRAIN_MS: '900' };
const neverDrained = { ...settings, GATEWAY_DRAIN_NOTICE_MS: '600000' };

/** The lines of its log so far. */
function logOf(program: Program): { msg?: string; port?: number; signal?: string }[] {
  const lines = program.output().split('\n').slice(0, -1);
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
}

async function listening(program: Program): Promise<{ url: string }> {
  const port = await until(() => logOf(program).find(({ msg }) => msg === 'listening')?.port, 10_000, 'it listens');
  return { url: `ws://127.0.0.1:${port}/ws` };
}

/** A client that stays is asked to move, then closed with 4001, and the program ends with 0. */
async function expectDrain(program: Program, stop: () => void): Promise<void> {
  const client = await join(await listening(program), 'user', randomRoom());
  stop();
  await client.next('reconnect');
  expect(await client.closed).toMatchObject({ code: 4001 });
  expect(await program.ended()).toBe(0);
}

test.each(['SIGTERM', 'SIGINT', 'SIGQUIT'] as const)('%s drains', async (signal) => {
  const program = run(draining);
  await expectDrain(program, () => program.kill(signal));
});

test('the same order twice within milliseconds, or in two ways, is one order', async () => {
  const program = run(draining);
  await expectDrain(program, () => {
    program.kill('SIGTERM');
    until(() => logOf(program).some(({ msg }) => msg === 'draining'), 5_000, 'it drains').then(() => {
      program.kill('SIGTERM');
      program.kill('SIGINT');
    });
  });
});

test('whoever asks again more than a second later ends it at once, with 1', async () => {
  const program = run(neverDrained);
  const client = await join(await listening(program), 'user', randomRoom());
  program.kill('SIGTERM');
  await until(() => logOf(program).some(({ msg }) => msg === 'draining'), 5_000, 'it drains');
  const since = performance.now();
  const again = setInterval(() => program.kill('SIGTERM'), 50);
  expect(await program.ended().finally(() => clearInterval(again))).toBe(1);
  expect(performance.now() - since).toBeGreaterThan(900);
  expect((await client.closed).code).toBe(1006);
});

test('an order to stop that comes while the program still starts is obeyed when it has', async () => {
  // It says nothing, so that the node waits for it.
  const mute = createServer().listen(0, '127.0.0.1');
  onCleanup(() => mute.close());
  await once(mute, 'listening');
  const { port } = mute.address() as AddressInfo;
  const program = run({ ...settings, GATEWAY_REDIS_URL: `redis://127.0.0.1:${port}` });
  const [socket] = await once(mute, 'connection');
  onCleanup(() => socket.destroy());
  program.kill('SIGTERM');
  await until(() => logOf(program).some(({ signal }) => signal === 'SIGTERM'), 5_000, 'it has taken the order');
  expect(logOf(program).some(({ msg }) => msg === 'listening')).toBe(false);
  expect(await program.ended()).toBe(0);
});

test.each(['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const)(
  '%s cuts nobody in production, and opens no debugger',
  async (signal) => {
    const program = run({
      ...settings,
      NODE_ENV: 'production',
      GATEWAY_HOST: '127.0.0.1',
      // Nobody else's port, if it should open one.
      NODE_OPTIONS: '--inspect-port=0',
      GATEWAY_DRAIN_NOTICE_MS: '0',
      GATEWAY_DRAIN_MS: '0',
    });
    const room = randomRoom();
    const client = await join(await listening(program), 'user', room);
    const before = logOf(program).length;
    program.kill(signal);
    const answer = await until(() => logOf(program)[before], 5_000, 'it says what it makes of it');
    expect(answer).toMatchObject(signal === 'SIGHUP' ? { msg: expect.stringMatching(/^nothing to read/) } : { signal });
    await client.publish(room, 'still here');
    expect(program.errors()).toBe('');
    program.kill('SIGTERM');
    expect(await program.ended()).toBe(0);
  },
);

test('npm start hands on SIGTERM, and ends when the node has', async () => {
  const program = runByNpm(draining);
  await expectDrain(program, () => program.kill('SIGTERM'));
});

test('Ctrl+C in a terminal, which goes to npm and to the node, and once more from npm to the node, drains', async () => {
  const program = runByNpm(draining);
  await expectDrain(program, () => program.killGroup('SIGINT'));
});

test('development ends within two seconds though a tab is open, unless it is told to drain', async () => {
  const program = run({ GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' });
  const { url } = await listening(program);
  const token = (await until(() => /Token:\s+(\S+)/.exec(program.output())?.[1], 5_000, 'its token')) ?? '';
  const tab = await connect(url, { token });
  await tab.next('welcome');
  await tab.subscribe('demo:lobby');
  const began = performance.now();
  program.kill('SIGINT');
  expect(await program.ended()).toBe(0);
  expect(performance.now() - began).toBeLessThan(2_000);
  expect(await tab.closed).toMatchObject({ code: 4001 });
});

test('development ends with its terminal', async () => {
  const program = await runInTerminal({ ...settings });
  program.read();
  expect(program.runs()).toBe(true);
  await until(() => program.output().includes('listening'), 10_000, 'it listens');
  program.close();
  await until(() => !program.runs(), 5_000, 'it has ended');
});
