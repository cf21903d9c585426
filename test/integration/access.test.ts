/**
 * Who may do what in which room: rules of the operator, grants of the token, personal rooms. Deny by default.
 *
 * Each row of the tables is tested on a live connection, so it is not only answered but enforced.
 */
import { describe, expect, test } from 'vitest';
import { personalRoom } from '../../shared/room.ts';
import { type Client, connect, connectWelcomed } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { roomsFile } from './files.ts';
import { carrying, dataOf, randomRoom } from './people.ts';

const bare = await startNode();
const ruled = await startNode({
  ANONYMOUS: true,
  ROOMS_FILE: roomsFile(
    { match: 'chat:vip:*', subscribe: 'token', publish: 'server' },
    { match: 'chat:*', subscribe: 'user', publish: 'user' },
    { match: 'news:*', subscribe: 'anyone', publish: 'token' },
    { match: 'system:*', subscribe: 'server', publish: 'server' },
    { match: 'inbox:*' },
    { match: '@*', subscribe: 'anyone', publish: 'anyone' },
    { match: '*:log', subscribe: 'anyone' },
  ),
});

type Outcome = 'both' | 'subscribe' | 'publish' | 'neither';

/** The actions that a connection can really perform in a room. */
async function outcome(client: Client, room: string): Promise<Outcome> {
  const answers = [
    await client.request({ type: 'subscribe', room }),
    await client.request({ type: 'publish', room, data: 1 }),
  ];
  const [subscribe, publish] = answers.map((answer) => {
    if (answer.type === 'error') expect(answer.code).toBe('forbidden');
    return answer.type === 'ok';
  });
  if (subscribe) return publish ? 'both' : 'subscribe';
  return publish ? 'publish' : 'neither';
}

async function user(node: { url: string }, sub: string, rooms?: Record<string, string[]>): Promise<Client> {
  return connectWelcomed(node.url, await mintToken({ sub, ...(rooms === undefined ? {} : { rooms }) }));
}

describe('without rules', () => {
  test('a token without a rooms claim allows nothing', async () => {
    const client = await user(bare, 'user');
    for (const room of ['room', 'chat:1', 'user', '__proto__']) expect(await outcome(client, room)).toBe('neither');
  });

  test.each<[grants: Record<string, string[]>, room: string, Outcome]>([
    [{ 'chat:*': ['subscribe', 'publish'] }, 'chat:1', 'both'],
    [{ 'chat:*': ['subscribe', 'publish'] }, 'chat:', 'both'],
    [{ 'chat:*': ['subscribe', 'publish'] }, 'chat', 'neither'],
    [{ 'chat:*': ['subscribe', 'publish'] }, 'xchat:1', 'neither'],
    [{ 'chat:*': ['subscribe', 'publish'] }, 'Chat:1', 'neither'],
    [{ news: ['subscribe'] }, 'news', 'subscribe'],
    [{ news: ['subscribe'] }, 'news:1', 'neither'],
    [{ news: ['publish'] }, 'news', 'publish'],
    [{ news: [] }, 'news', 'neither'],
    [{ news: ['history', 'presence'] }, 'news', 'neither'],
    [{ 'a*': ['subscribe'], '*b': ['publish'] }, 'a-b', 'both'],
    [{ '*a*b*c*': ['subscribe'] }, 'xaxbxcx', 'subscribe'],
    [{ '*a*b*c*': ['subscribe'] }, 'xcxbxax', 'neither'],
    [{ '.*': ['subscribe'] }, 'chat', 'neither'],
    [{ 'a.c': ['subscribe'] }, 'abc', 'neither'],
    [{ '*': ['subscribe', 'publish'] }, '@somebody', 'neither'],
    [{ '@*': ['subscribe', 'publish'] }, '@somebody', 'neither'],
    [{ '@somebody': ['subscribe', 'publish'] }, '@somebody', 'neither'],
  ])('grants %j in room %s: %s', async (grants, room, expected) => {
    expect(await outcome(await user(bare, 'user', grants), room)).toBe(expected);
  });

  test('a pattern on which a backtracking matcher would hang is answered at once', async () => {
    const client = await user(bare, 'user', {
      [`*${'a'.repeat(40)}*${'a'.repeat(40)}*${'a'.repeat(40)}*b`]: ['subscribe'],
    });
    expect(await outcome(client, 'a'.repeat(200))).toBe('neither');
  });
});

describe('with rules', () => {
  test.each<[room: string, nobody: Outcome, plain: Outcome, granted: Outcome]>([
    ['chat:1', 'neither', 'both', 'both'],
    ['chat:vip:1', 'neither', 'neither', 'subscribe'],
    ['news:1', 'subscribe', 'subscribe', 'both'],
    ['system:1', 'neither', 'neither', 'neither'],
    ['inbox:1', 'neither', 'neither', 'both'],
    ['unnamed', 'neither', 'neither', 'both'],
    ['app:log', 'subscribe', 'subscribe', 'both'],
    ['chat:log', 'neither', 'both', 'both'],
    ['@somebody', 'neither', 'neither', 'neither'],
  ])('%s: anonymous %s, any user %s, with a grant for everything %s', async (room, nobody, plain, granted) => {
    const anonymous = await connect(ruled.url);
    await anonymous.next('welcome');
    const everything = { '*': ['subscribe', 'publish'], '@*': ['subscribe', 'publish'] };
    expect(await outcome(anonymous, room)).toBe(nobody);
    expect(await outcome(await user(ruled, 'plain'), room)).toBe(plain);
    expect(await outcome(await user(ruled, 'granted', everything), room)).toBe(granted);
  });

  test('a forbidden publish reaches nobody, and its sender stays connected', async () => {
    const room = randomRoom('news');
    const reader = await user(ruled, 'reader');
    const writer = await user(ruled, 'writer', { 'news:*': ['publish'] });
    await reader.subscribe(room);
    const answer = await reader.request({ type: 'publish', room, data: 'forged news' });
    expect(answer).toMatchObject({ type: 'error', code: 'forbidden', message: expect.stringMatching(/rule|token/) });
    await writer.publish(room, 'news');
    await reader.next(carrying(room, 'news'));
    expect(dataOf(reader, room)).toEqual(['news']);
  });

  test('no client can publish as another user: the node stamps sender, id and time', async () => {
    const room = randomRoom('chat');
    const client = await user(ruled, 'mallory');
    await client.subscribe(room);
    const forged = { from: 'alice', at: 1, offset: 99, type: 'publish', room, data: 1, user: 'alice' };
    client.send({ ...forged, id: 'an-id-of-my-own' });
    const message = await client.next('message');
    expect(message).toEqual({
      type: 'message',
      room,
      id: expect.not.stringContaining('an-id-of-my-own'),
      data: 1,
      from: 'mallory',
      at: expect.any(Number),
    });
    expect(message.at).toBeGreaterThan(Date.now() - 60_000);
  });
});

describe('the personal room of a user', () => {
  test.each([
    ['alice', '@alice'],
    ['a b', '@a%20b'],
    ['50%', '@50%25'],
    ['häß', '@h%C3%A4%C3%9F'],
    ['a/../b', '@a/%2E%2E/b'],
    ['*', '@%2A'],
    ['{x}', '@%7Bx%7D'],
    ['"\r\n', '@%22%0D%0A'],
    ['@alice', '@@alice'],
    ['__proto__', '@__proto__'],
  ])('of %j is %s: only for that user, and only to listen', async (sub, room) => {
    expect(personalRoom(sub)).toBe(room);
    const owner = await user(bare, sub);
    const stranger = await user(bare, `${sub}x`, { '@*': ['subscribe', 'publish'], '*': ['subscribe', 'publish'] });
    expect(await outcome(owner, room)).toBe('subscribe');
    expect(await outcome(stranger, room)).toBe('neither');
  });

  test('in another spelling belongs to nobody', async () => {
    const owner = await user(bare, 'a b');
    for (const room of ['@a%20B', '@A%20b', '@a%2', '@', '@a+b']) expect(await outcome(owner, room)).toBe('neither');
  });
});
