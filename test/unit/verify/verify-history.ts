/**
 * Logs of runs in which nothing was broken, made at random by a gateway of a hundred lines that cannot fail.
 *
 * It has rooms with history and plain ones, clients that lag behind, come back, are refused, publish again with the same
 * key, members that are told a gap, a Redis that loses its memory or one room, and another one that takes over, for all rooms or, without the last messages, for some. Whatever
 * it writes, the checker must find good.
 */
import type { Entry, EntryOf, RoomPlan, StoredMessage } from '../../verify/log.ts';
import { Random } from '../random.ts';

type Frame =
  | Pick<EntryOf<'deliver'>, 'event' | 'id' | 'offset' | 'wire'>
  | (Partial<EntryOf<'gap'>> & { event: 'gap' });

interface Room extends RoomPlan {
  epoch: number;
  /** Of the current epoch; those before `first` are trimmed. */
  messages: StoredMessage[];
  first: number;
  count: number;
  keys: Map<string, { offset: number; epoch: string }>;
}

interface Membership {
  position: { epoch: string; offset: number };
  queue: Frame[];
}

interface Client {
  name: string;
  conn: number;
  rooms: Map<string, Membership>;
  left: Map<string, Membership['position']>;
}

const roomPlans: RoomPlan[] = [
  { name: 'h:0', history: true },
  { name: 'h:1', history: true, presence: true },
  { name: 'p:0', history: false },
  { name: 'p:1', history: false, presence: true },
];
const kept = 12;

export function validLog(seed: number, steps = 250): Entry[] {
  const random = new Random(seed);
  const log: Entry[] = [{ event: 'run', t: 0, seed, minutes: 0, rooms: roomPlans, schedule: [] }];
  let [time, conns, ids] = [0, 0, 0];
  const now = () => ++time;
  const rooms: Room[] = roomPlans.map((plan) => ({
    ...plan,
    epoch: 1,
    messages: [],
    first: 1,
    count: 0,
    keys: new Map(),
  }));
  const clients: Client[] = ['a', 'b', 'c', 'd'].map((name) => ({ name, conn: 0, rooms: new Map(), left: new Map() }));
  const again: { id: string; room: Room }[] = [];
  const epochOf = (room: Room) => `e${room.epoch}`;
  const line = (client: Client, room: Room) => ({ t: now(), client: client.name, conn: client.conn, room: room.name });

  const take = (room: Room, id: string, members = clients): { offset: number; epoch: string } => {
    const known = room.keys.get(id);
    if (known) return known;
    const offset = ++room.count;
    const place = { offset, epoch: epochOf(room) };
    room.keys.set(id, place);
    room.messages.push({ id, offset });
    if (room.messages.length > kept) room.messages.shift();
    room.first = room.messages[0]?.offset ?? 1;
    const wire = `w${room.epoch}-${offset}`;
    for (const { rooms: joined } of members) {
      joined.get(room.name)?.queue.push({ event: 'deliver', id, ...(room.history ? { offset } : { wire }) });
    }
    return place;
  };

  const publish = (client: Client, room: Room, id: string, surely: boolean) => {
    log.push({ ...line(client, room), event: 'publish', id });
    const fate = surely ? 1 : random.next();
    if (fate < 0.1) log.push({ ...line(client, room), event: 'nack', id, code: 'unavailable' });
    else if (fate < 0.3) {
      if (fate < 0.2) take(room, id);
      log.push({ ...line(client, room), event: 'unknown', id, code: 'timeout' });
    } else {
      const duplicate = room.keys.has(id);
      const place = take(room, id);
      const answer = { ...line(client, room), event: 'ack', id, duplicate } as const;
      log.push(room.history ? { ...answer, ...place } : answer);
      return;
    }
    if (random.chance(0.6)) again.push({ id, room });
  };

  const drain = (client: Client, room: Room, most = Number.POSITIVE_INFINITY) => {
    const membership = client.rooms.get(room.name);
    for (const frame of membership?.queue.splice(0, most) ?? []) {
      log.push({ ...line(client, room), ...frame } as Entry);
      if (frame.event === 'gap' && membership && frame.epoch)
        membership.position = { epoch: frame.epoch, offset: frame.offset ?? 0 };
      else if (frame.event === 'gap' && membership && frame.last) membership.position.offset = frame.last;
      else if (frame.event === 'deliver' && membership && frame.offset) membership.position.offset = frame.offset;
    }
  };

  const join = (client: Client, room: Room) => {
    if (client.rooms.has(room.name)) return;
    const from = client.left.get(room.name);
    const [epoch, top] = [epochOf(room), room.count];
    const membership: Membership = { position: { epoch, offset: top }, queue: [] };
    client.rooms.set(room.name, membership);
    if (!room.history) log.push({ ...line(client, room), event: 'subscribe' });
    else if (from === undefined) log.push({ ...line(client, room), event: 'subscribe', epoch, offset: top });
    else {
      const recovered = from.epoch === epoch && from.offset >= room.first - 1;
      const offset = recovered ? from.offset : top;
      log.push({ ...line(client, room), event: 'resume', from, recovered, epoch, offset });
      if (!recovered) return;
      membership.position = { ...from };
      const missed = room.messages.filter((message) => message.offset > from.offset);
      membership.queue.push(...missed.map((message) => ({ event: 'deliver', ...message }) as const));
    }
  };

  const leave = (client: Client, room: Room) => {
    const membership = client.rooms.get(room.name);
    if (membership && room.history) client.left.set(room.name, membership.position);
    client.rooms.delete(room.name);
  };

  const connect = (client: Client) => {
    if (client.conn > 0) log.push({ t: now(), client: client.name, conn: client.conn, event: 'close', code: 1006 });
    for (const room of rooms) leave(client, room);
    client.conn = ++conns;
    log.push({ t: now(), client: client.name, conn: client.conn, event: 'open', dialect: 'native' });
    for (const room of rooms) join(client, room);
  };

  /** The member does not get what waits for it, and is told. */
  const tellGap = (client: Client, room: Room) => {
    const membership = client.rooms.get(room.name);
    const missed = membership?.queue.filter((frame) => frame.event === 'deliver') ?? [];
    if (membership === undefined || missed.length === 0 || missed.length < membership.queue.length) return;
    const exact = { first: missed[0]?.offset ?? 0, last: missed.at(-1)?.offset ?? 0 };
    membership.queue = [{ event: 'gap', reason: 'slow', ...(room.history ? exact : { count: missed.length }) }];
  };

  const interrupt = (room: Room, members = clients) => {
    const { count: offset } = room;
    const told = room.history ? { reason: 'epoch', epoch: epochOf(room), offset } : { reason: 'backplane' };
    for (const { rooms: joined } of members) joined.get(room.name)?.queue.push({ event: 'gap', ...told });
  };

  const wipe = () => {
    const from = now();
    for (const room of rooms) {
      Object.assign(room, { epoch: room.epoch + 1, messages: [], first: 1, count: 0, keys: new Map() });
      interrupt(room);
    }
    log.push({ t: now(), event: 'wipe', from });
  };

  /** The messages of one room are gone, their keys are not. */
  const lapse = (room: Room) => {
    if (!room.history) return;
    Object.assign(room, { epoch: room.epoch + 1, messages: [], first: 1, count: 0 });
    interrupt(room);
    log.push({ t: now(), event: 'lapse', room: room.name });
  };

  /** What is there stays. Those of a plain room that have not moved yet get what the former master takes, and nothing else. */
  const takeOver = () => {
    const from = now();
    for (const room of rooms) {
      if (room.history) room.epoch++;
      else {
        const moved = clients.filter(() => random.chance(0.5));
        interrupt(room, moved);
        for (const members of [clients.filter((client) => !moved.includes(client)), moved]) {
          const [publisher, id] = [random.pick(clients), `m${++ids}`];
          log.push({ ...line(publisher, room), event: 'publish', id });
          take(room, id, members);
          log.push({ ...line(publisher, room), event: 'ack', id });
        }
      }
      interrupt(room);
    }
    log.push({ t: now(), event: 'takeover', from });
  };

  /** A replica that lacks the last messages takes over, for some rooms: they are gone, and so are their keys. */
  const loseLast = (some: Room[]) => {
    const from = now();
    for (const room of some) {
      if (room.history) {
        const lost = room.messages.splice(
          -random.integer(0, Math.min(3, room.messages.length)) || room.messages.length,
        );
        for (const { id } of lost) room.keys.delete(id);
        room.count -= lost.length;
        room.epoch++;
      }
      interrupt(room);
    }
    log.push({ t: now(), event: 'takeover', from, lossy: true, rooms: some.map(({ name }) => name) });
  };

  for (const client of clients) connect(client);
  for (let step = 0; step < steps; step++) {
    const [client, room, fate] = [random.pick(clients), random.pick(rooms), random.next()];
    if (fate < 0.5) publish(client, room, `m${++ids}`, false);
    else if (fate < 0.85) drain(client, room, random.integer(1, 6));
    else if (fate < 0.9) for (const one of again.splice(0, 1)) publish(client, one.room, one.id, false);
    else if (fate < 0.94) connect(client);
    else if (fate < 0.96) tellGap(client, room);
    else if (fate < 0.965) client.rooms.get(room.name)?.queue.push({ event: 'gap', reason: 'backplane', count: 0 });
    else if (fate < 0.97) takeOver();
    else if (fate < 0.975) lapse(room);
    else if (fate < 0.98) loseLast(rooms.filter((each) => each === room || random.chance(0.3)));
    else if (fate < 0.995) {
      if (client.rooms.has(room.name)) log.push({ ...line(client, room), event: 'unsubscribe' });
      leave(client, room);
    } else wipe();
  }
  // The quiet end: all are back, and each room has a few last messages that all of them see.
  for (const client of clients) {
    for (const room of rooms) {
      join(client, room);
      drain(client, room);
    }
  }
  for (let round = 0; round < 3; round++) {
    for (const room of rooms) publish(random.pick(clients), room, `m${++ids}`, true);
  }
  for (const client of clients) {
    for (const room of rooms) drain(client, room);
    log.push({ t: now(), client: client.name, conn: client.conn, event: 'end', rooms: rooms.map(({ name }) => name) });
  }
  for (const { name: room, presence } of roomPlans) {
    const members = clients.map((client) => client.name);
    const { length } = members;
    if (presence) log.push({ t: now(), event: 'presence', room, members, count: length, users: length });
  }
  for (const room of rooms) {
    if (!room.history) continue;
    const { name, first, count: offset, messages: items } = room;
    log.push({ t: now(), event: 'history', room: name, epoch: epochOf(room), first, offset, items: [...items] });
  }
  return log;
}
