/**
 * What clients of this protocol are told: answers to their commands, and pushes, as values that JSON and Protobuf write. Pure
 * functions, but for the clock, which a time to live needs. Zero values are left out, as the original server does.
 */
import type { JoinLeaveFrame, Position } from '../../../shared/protocol.ts';
import type { AssignedReply, HistoryReply, PresenceReply, Reply } from '../reply.ts';
import { errors, finerErrors, unsubscribes } from './codes.ts';
import { oneLine, publicationOf } from './publication.ts';
import { type Command, type ReturnAddress, readAddress } from './return-address.ts';
import { type Fields, Payload, type Value } from './value.ts';

/** A client asks for a new token this long before the old one ends, because from then on it is not obeyed. */
const refreshMarginSeconds = 25;

/** What clients are told instead of a version of the original server. */
const server = 'roomcast';

/** In their order; none if it does not tell this. */
export function repliesTo(reply: Reply): Fields[] {
  switch (reply.type) {
    case 'welcome':
    case 'ok':
    case 'history':
    case 'presence':
    case 'expired':
    case 'called':
    case 'uncalled':
    case 'error': {
      const address = readAddress(reply.id);
      return address === undefined ? [] : [answer(reply, address)];
    }
    case 'gap':
      // None of its messages is missing.
      return reply.count === 0 ? [] : [push(reply.room, 'unsubscribe', unsubscribes.gap)];
    case 'unsubscribed':
      return [push(reply.room, 'unsubscribe', unsubscribes[reply.reason])];
    case 'subscribed':
      return [push(reply.room, 'subscribe', positionOf(reply))];
    case 'join':
    case 'leave':
      return memberPushes(reply);
    // It has no word for moving: the client connects again when the drain closes it.
    case 'reconnect':
    case 'pong':
      return [];
  }
}

type Answer = Extract<
  Reply,
  { type: 'welcome' | 'ok' | 'history' | 'presence' | 'expired' | 'called' | 'uncalled' | 'error' }
>;

function answer(reply: Answer, { command, number, ...asked }: ReturnAddress): Fields {
  switch (reply.type) {
    case 'welcome':
      return result(number, 'connect', {
        ...{ client: reply.connection, version: server },
        ...expiry(reply.expiresAt),
        subs: reply.rooms && assigned(reply.rooms),
        ...{ ping: Math.ceil(reply.pingIntervalMs / 1000), pong: true },
      });
    case 'ok':
      return result(number, command, done(command, reply));
    case 'history':
      return history(number, reply, asked);
    case 'presence':
      return presence(number, command, reply);
    case 'called':
      return result(number, 'rpc', { data: new Payload(oneLine(reply.data)) });
    case 'uncalled':
      return failed(number, { code: reply.code, message: reply.message });
    case 'expired':
      return failed(number, finerErrors.token_expired);
    case 'error': {
      const error = reply.finer === undefined ? errors[reply.code] : finerErrors[reply.finer];
      return failed(number, { ...error, message: `${error.message}: ${reply.message}` });
    }
  }
}

/** Each as in an answer to `subscribe`. */
function assigned(rooms: readonly AssignedReply[]): Fields {
  const subs = rooms.map(({ room, data, ...reply }): [string, Fields] => [
    room,
    { ...subscribed(reply), data: data === undefined ? undefined : new Payload(data) },
  ]);
  return Object.fromEntries(subs);
}

type Ok = Extract<Reply, { type: 'ok' }>;

function done(command: Command, reply: Ok): Fields {
  if (command === 'subscribe') return subscribed(reply);
  const { expiresAt = null } = reply;
  if (command === 'refresh') return { version: server, ...expiry(expiresAt) };
  return command === 'sub_refresh' ? expiry(expiresAt) : {};
}

function result(number: number, command: string, fields: Fields): Fields {
  return { id: number, [command]: fields };
}

function failed(number: number, error: Fields): Fields {
  return { id: number, error };
}

function push(channel: string, what: string, fields: Fields): Fields {
  return { push: { channel, [what]: fields } };
}

/** Null or Infinity: there is no end. */
function expiry(expiresAt: number | null): Fields {
  if (expiresAt === null || !Number.isFinite(expiresAt)) return {};
  const left = (expiresAt - Date.now()) / 1000;
  return { expires: true, ttl: Math.max(1, Math.floor(left - Math.min(refreshMarginSeconds, left / 2))) };
}

function positionOf({ epoch, offset }: Partial<{ [Key in keyof Position]: Position[Key] | undefined }>): Fields {
  if (epoch === undefined || offset === undefined) return {};
  return { recoverable: true, positioned: true, epoch, ...(offset === 0 ? {} : { offset }) };
}

/**
 * What was missed follows as pushes, and the offset is the one that the client asked from. So an answer has no bound on them,
 * and a slow reader gets them at its own pace.
 */
function subscribed({ recovered, expiresAt = null, ...reply }: Omit<Ok, 'type'>): Fields {
  return {
    ...expiry(expiresAt),
    ...positionOf(reply),
    ...(recovered === undefined ? {} : { was_recovering: true }),
    ...(recovered === true ? { recovered } : {}),
  };
}

function history(number: number, reply: HistoryReply, { reverse, since }: Partial<ReturnAddress>): Fields {
  const { epoch, offset, first } = reply;
  if (since !== undefined) {
    const trimmed = reverse !== true && since.offset + 1 < first;
    if ((since.epoch !== '' && since.epoch !== epoch) || since.offset > offset || trimmed) {
      return failed(number, finerErrors.unrecoverable);
    }
  }
  const publications = reply.messages.map(publicationOf);
  if (reverse === true) publications.reverse();
  return result(number, 'history', { publications, epoch, offset });
}

function presence(number: number, command: string, reply: PresenceReply): Fields {
  if (command === 'presence_stats') {
    return result(number, command, { num_clients: reply.count, num_users: reply.users });
  }
  if (reply.more) {
    const message = `${errors.limit_exceeded.message}: the room has ${reply.count} members; ask for presence_stats.`;
    return failed(number, { ...errors.limit_exceeded, message });
  }
  const members = reply.members.map(({ connection: client, user, info }): [string, Value] => [
    client,
    { user: user ?? '', client, conn_info: info === undefined ? undefined : new Payload(info) },
  ]);
  return result(number, command, { presence: Object.fromEntries(members) });
}

/** One push for each member: of a user who is told by name only, or of an anonymous connection. */
export function memberPushes({ type, room, members }: JoinLeaveFrame): Fields[] {
  return members.map((member) => {
    if (!('user' in member)) return push(room, type, { info: { user: '', client: member.connection } });
    const info = member.info === undefined ? undefined : new Payload(JSON.stringify(member.info));
    return push(room, type, { info: { user: member.user, client: '', conn_info: info } });
  });
}
