/**
 * The clients of the integration tests: users whose token grants every room, and rooms that no other test uses.
 *
 * Owns no state. Tests of permissions make their own tokens.
 */
import { randomBytes } from 'node:crypto';
import type { GatewayFrame, MessageFrame } from '../../shared/protocol.ts';
import { type Client, connectWelcomed } from '../support/client.ts';
import { mintToken } from '../support/token.ts';

/** A `rooms` claim that grants everything in every room except personal ones. */
export const everywhere = { '*': ['subscribe', 'publish'] };

export function randomRoom(topic = 'room'): string {
  return `${topic}:${randomBytes(6).toString('hex')}`;
}

/** A token that grants every room and expires in an hour. */
export function tokenOf(user: string): Promise<string> {
  return mintToken({ sub: user, rooms: everywhere });
}

/** Connected and welcomed, in no room yet. */
export async function enter(node: { url: string }, user: string): Promise<Client> {
  return connectWelcomed(node.url, await tokenOf(user));
}

/** Connected, welcomed and a member of the rooms. */
export async function join(node: { url: string }, user: string, ...rooms: string[]): Promise<Client> {
  const client = await enter(node, user);
  for (const room of rooms) await client.subscribe(room);
  return client;
}

/** One member of the room per user, connected at the same time. */
export function joinAll(node: { url: string }, users: string[], room: string): Promise<Client[]> {
  return Promise.all(users.map((user) => join(node, user, room)));
}

/** `prefix0`, `prefix1`, ... */
export function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}

/** The messages of a room that came so far, in order. */
export function messagesOf(client: Client, room: string): MessageFrame[] {
  return client.frames.filter((frame): frame is MessageFrame => frame.type === 'message' && frame.room === room);
}

/** The data of these messages, in order. */
export function dataOf(client: Client, room: string): unknown[] {
  return messagesOf(client, room).map(({ data }) => data);
}

/** For `client.next`: the message of a room that carries this data. */
export function carrying(room: string, data: unknown): (frame: GatewayFrame) => boolean {
  return (frame) => frame.type === 'message' && frame.room === room && frame.data === data;
}
