/**
 * Clients of every kind that come and go: the number at a time is constant, the rooms are always new. Rooms with history are
 * a pool, because their positions are kept for 7 days.
 *
 * Owns the clients' loops, and what they did. An act may fail where a client is cut; other failures are counted and shown.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { call, post } from '../integration/api.ts';
import type { SpawnedNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { visit } from './sdk.ts';
import { Visitor } from './visitor.ts';

/** Of rooms with history. */
export const poolSize = 60;
const perNode = { chatter: 12, renewer: 2, expirer: 2, slow: 1, stream: 3, poller: 2, backend: 1, wanderer: 1, sdk: 3 };
const rights = { '*': ['subscribe', 'publish', 'history', 'presence'] };
const roomsPerWalk = 40;
const floodBytes = 12_000;
const floodMessages = 100;

/** Brings one more client, which ends with the act at the latest. */
type Enter = (token: string) => Promise<Visitor>;
type Act = (node: SpawnedNode, enter: Enter, otherNode: SpawnedNode) => Promise<void>;

const name = (topic: string) => `${topic}:${randomBytes(8).toString('hex')}`;
const kept = () => `kept:${Math.floor(Math.random() * poolSize)}`;
const stay = () => delay(100 + Math.random() * 700);
const tokenFor = (seconds: number, sub = name('user')) =>
  mintToken({ sub, exp: Math.floor(Date.now() / 1000) + seconds, rooms: rights });

/** Comes, talks in rooms nobody was in before, is cut, and resumes. */
async function chatter(_node: SpawnedNode, enter: Enter): Promise<void> {
  const visitor = await enter(await tokenFor(600));
  const rooms = [name('live'), name('live'), name('plain')];
  const room = kept();
  for (const each of [...rooms, room]) await visitor.subscribe(each);
  for (const each of [...rooms, room]) {
    await visitor.ask({ type: 'publish', room: each, data: 'hello', key: name('key') });
  }
  await visitor.ask({ type: 'presence', room: rooms[0] });
  await visitor.ask({ type: 'history', room, limit: 5 });
  await visitor.ask({ type: 'unsubscribe', room: rooms[0] });
  await stay();
  const since = visitor.positions.get(room);
  await visitor.leave('cut');
  const again = await enter(await tokenFor(600));
  await again.subscribe(room, since);
  await stay();
  await again.leave('close');
}

/** Renews its token, with a new one each time. */
async function renewer(_node: SpawnedNode, enter: Enter): Promise<void> {
  const user = name('user');
  const token = () => mintToken({ sub: user, exp: Math.floor(Date.now() / 1000) + 30, rooms: rights });
  const visitor = await enter(await token());
  await visitor.subscribe(name('live'));
  for (let time = 0; time < 3; time++) {
    await stay();
    await visitor.ask({ type: 'auth', token: await token() });
  }
  await visitor.leave('close');
}

/** Stays until its token ends. */
async function expirer(_node: SpawnedNode, enter: Enter): Promise<void> {
  const visitor = await enter(await tokenFor(5));
  await visitor.subscribe(name('live'));
  await visitor.closed;
}

/** Does not read while its room is flooded. */
async function slow(_node: SpawnedNode, enter: Enter): Promise<void> {
  const room = Math.random() < 0.5 ? name('plain') : kept();
  const [reader, writer] = [await enter(await tokenFor(600)), await enter(await tokenFor(600))];
  await reader.subscribe(room);
  reader.pause();
  for (let sent = 0; sent < floodMessages; sent++) {
    await writer.ask({ type: 'publish', room, data: 'x'.repeat(floodBytes) });
  }
  await reader.leave('cut');
  await writer.leave('close');
}

/** Looks into many rooms that nobody was in before. In ten minutes these are tens of thousands. */
async function wanderer(_node: SpawnedNode, enter: Enter): Promise<void> {
  const visitor = await enter(await tokenFor(600));
  await Promise.all(
    Array.from({ length: roomsPerWalk }, (_, index) => visitor.subscribe(name(index % 2 === 0 ? 'live' : 'plain'))),
  );
  await stay();
  await visitor.leave('close');
}

async function stream(node: SpawnedNode): Promise<void> {
  const leaving = new AbortController();
  const room = Math.random() < 0.5 ? name('live') : kept();
  const headers = { authorization: `Bearer ${await tokenFor(600)}` };
  const address = `http://127.0.0.1:${node.port}/rooms/${encodeURIComponent(room)}/events`;
  try {
    const response = await fetch(address, { headers, signal: leaving.signal });
    if (response.status !== 200) throw new Error(`a stream got ${response.status}: ${await response.text()}`);
    await response.body?.getReader().read();
    await stay();
  } finally {
    leaving.abort();
  }
}

/** Half of its polls end by themselves, half are given up. */
async function poller(node: SpawnedNode): Promise<void> {
  const headers = { authorization: `Bearer ${await tokenFor(600)}` };
  const address = `http://127.0.0.1:${node.port}/rooms/${encodeURIComponent(kept())}/messages`;
  const first = await fetch(address, { headers });
  if (first.status !== 200) throw new Error(`a poll got ${first.status}: ${await first.text()}`);
  const { epoch, offset } = (await first.json()) as { epoch: string; offset: number };
  const givenUp = Math.random() < 0.5;
  const signal = AbortSignal.timeout(givenUp ? 300 : 10_000);
  const since = encodeURIComponent(`${epoch}:${offset}`);
  await fetch(`${address}?since=${since}&wait=1`, { headers, signal }).then(
    (response) => response.text(),
    (error) => {
      if (!givenUp) throw error;
    },
  );
}

/** Publishes, reads lists, and disconnects and blocks a user who is not there. */
async function backend(node: SpawnedNode): Promise<void> {
  const room = name('live');
  const answers = [
    await post(node, room, { data: 'from the backend' }),
    await post(node, kept(), { data: 'from the backend', key: name('key') }),
    await call(node, 'GET', '/api/rooms?limit=10'),
    await call(node, 'GET', '/api/connections?limit=10'),
    await call(node, 'GET', '/api/nodes'),
    await call(node, 'GET', `/api/rooms/${room}/members`),
    await call(node, 'POST', `/api/users/${name('user')}/disconnect`, { body: { blockSeconds: 1 } }),
  ];
  for (const { status, text } of answers) if (status >= 300) throw new Error(`the API answered ${status}: ${text}`);
  await stay();
}

async function sdk(node: SpawnedNode, _enter: Enter, otherNode: SpawnedNode): Promise<void> {
  await visit(node, otherNode, await tokenFor(600), [name('live'), kept()]);
}

const acts: Record<keyof typeof perNode, Act> = {
  chatter,
  renewer,
  expirer,
  slow,
  stream,
  poller,
  backend,
  wanderer,
  sdk,
};

export class Churn {
  readonly #nodes: readonly SpawnedNode[];
  readonly done = new Map<string, number>();
  readonly failures = new Map<string, number>();
  #goesOn = true;
  #loops: Promise<void>[] = [];

  constructor(nodes: readonly SpawnedNode[]) {
    this.#nodes = nodes;
  }

  start(): void {
    this.#goesOn = true;
    for (const node of this.#nodes) {
      for (const [kind, count] of Object.entries(perNode)) {
        for (let index = 0; index < count; index++) this.#loops.push(this.#repeat(kind as keyof typeof perNode, node));
      }
    }
  }

  /** Resolves when all have left. */
  async end(): Promise<void> {
    this.#goesOn = false;
    await Promise.all(this.#loops.splice(0));
  }

  async #repeat(kind: keyof typeof perNode, node: SpawnedNode): Promise<void> {
    while (this.#goesOn) {
      const visitors: Visitor[] = [];
      const enter = async (token: string) => {
        const visitor = await Visitor.enter(node.url, token);
        visitors.push(visitor);
        return visitor;
      };
      try {
        await acts[kind](node, enter, this.#next(node));
        this.done.set(kind, (this.done.get(kind) ?? 0) + 1);
      } catch (error) {
        const what = `${kind}: ${(error as Error).message}`;
        this.failures.set(what, (this.failures.get(what) ?? 0) + 1);
        await stay();
      } finally {
        await Promise.all(visitors.map((visitor) => visitor.leave('cut')));
      }
    }
  }

  #next(node: SpawnedNode): SpawnedNode {
    return this.#nodes[(this.#nodes.indexOf(node) + 1) % this.#nodes.length] ?? node;
  }
}
