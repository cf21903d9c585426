/**
 * Who takes part in the integration tests: users whose token grants every room, and rooms that no other test uses.
 *
 * Owns no state. A test about permissions mints its own tokens and does not come here for them.
 */
import { randomBytes } from 'node:crypto';
import type { GatewayFrame, MessageFrame } from '../../shared/protocol.ts';
import { type Client, connectWelcomed } from '../support/client.ts';
import { mintToken } from '../support/token.ts';

/** A `rooms` claim: everything, in every room that is nobody's own. */
export const everywhere = { '*': ['subscribe', 'publish'] };

export function randomRoom(topic = 'room'): string {
  return `${topic}:${randomBytes(6).toString('hex')}`;
}

/** A token that grants every room; in an hour it expires. */
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

/** As many members of one room as there are users, connected at the same time. */
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

/** What was published, in the order in which it came. */
export function dataOf(client: Client, room: string): unknown[] {
  return messagesOf(client, room).map(({ data }) => data);
}

/** For `client.next`: the message of a room that carries this data. */
export function carrying(room: string, data: unknown): (frame: GatewayFrame) => boolean {
  return (frame) => frame.type === 'message' && frame.room === room && frame.data === data;
}
