/**
 * A crowd of clients in one room: they come in through the public door, publish by turns, and tell what each received.
 *
 * Owns the names of the users and of the rounds. Knows nothing of containers.
 */
import { randomBytes } from 'node:crypto';
import { type Client, connect } from '../support/client.ts';
import { mintToken } from '../support/token.ts';

export interface Member {
  client: Client;
  /** The node that welcomed it. */
  node: string;
}

export interface Door {
  /** `ws://host:port/ws` */
  url: string;
  secret: string;
  /** Certificate authority, PEM, for wss:// */
  ca?: string;
}

/** Handshakes under way at once, and publishes. */
const batchSize = 10;
const deadlineMs = 20_000;

/** Connects one client, each as a user of its own, so that no limit per user is met. */
export async function enter({ url, secret, ca }: Door): Promise<Member> {
  const token = await mintToken({ sub: `user-${randomBytes(4).toString('hex')}` }, secret);
  const client = await connect(url, { token, ...(ca === undefined ? {} : { ca }) });
  const { node } = await client.next('welcome', deadlineMs);
  return { client, node };
}

/** Connects `count` clients that are members of `room`. */
export async function join(door: Door, room: string, count: number): Promise<Member[]> {
  const members: Member[] = [];
  while (members.length < count) {
    const batch = Math.min(batchSize, count - members.length);
    members.push(...(await Promise.all(Array.from({ length: batch }, () => enter(door)))));
  }
  await Promise.all(members.map(({ client }) => client.subscribe(room)));
  return members;
}

/** Members by the node that serves them. */
export function byNode(members: readonly Member[]): Map<string, Member[]> {
  const groups = new Map<string, Member[]>();
  for (const member of members) groups.set(member.node, [...(groups.get(member.node) ?? []), member]);
  return groups;
}

export interface Round {
  sent: string[];
  /** What each member received of it, in its order. */
  received: string[][];
}

/**
 * All members publish by turns, some at once, as long as `more` says so of the number of messages so far. Resolves when
 * every member has received the last message, which goes out after all others were acknowledged.
 */
export async function publishRound(members: Member[], room: string, more: (sent: number) => boolean): Promise<Round> {
  const round = randomBytes(4).toString('hex');
  const sent: string[] = [];
  const last = `${round} last`;
  const everybody = Promise.all(
    members.map(({ client }) => client.next((frame) => frame.type === 'message' && frame.data === last, 60_000)),
  );
  const publish = async () => {
    const publisher = members[sent.length % members.length];
    const data = `${round} ${sent.length}`;
    sent.push(data);
    await publisher?.client.publish(room, data);
  };
  const publishAll = async () => {
    while (more(sent.length)) await Promise.all(Array.from({ length: batchSize }, publish));
    sent.push(last);
    await members[0]?.client.publish(room, last);
  };
  await Promise.all([publishAll(), everybody]);
  const received = members.map(({ client }) =>
    client.frames.flatMap((frame) =>
      frame.type === 'message' && String(frame.data).startsWith(round) ? [String(frame.data)] : [],
    ),
  );
  return { sent, received };
}
