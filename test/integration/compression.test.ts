/**
 * GATEWAY_COMPRESSION with clients as they are: the library ws and TLS. test/protocol looks at every byte, test/browser has a
 * browser.
 */
import { expect, test } from 'vitest';
import { connectWelcomed } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { everywhere, randomRoom } from './people.ts';

const token = () => mintToken({ sub: 'reader', rooms: everywhere });
const words = Array.from({ length: 500 }, (_, index) => ({ index, word: `word-${index % 7}` }));

test('a client that offers compression gets it, publishes and receives as others do', async () => {
  const node = await startNode({ COMPRESSION: 'shared' });
  const [compressing, plain] = await Promise.all([
    connectWelcomed(node.url, await token(), { compression: true }),
    connectWelcomed(node.url, await token()),
  ]);
  expect(compressing.socket.extensions).toBe('permessage-deflate');
  expect(plain.socket.extensions).toBe('');
  const room = randomRoom();
  for (const client of [compressing, plain]) await client.subscribe(room);
  for (const publisher of [compressing, plain]) {
    await publisher.publish(room, words);
    for (const client of [compressing, plain]) expect((await client.next('message')).data).toEqual(words);
  }
});

test('without the setting nobody gets it', async () => {
  const node = await startNode();
  const client = await connectWelcomed(node.url, await token(), { compression: true });
  expect(client.socket.extensions).toBe('');
  const room = randomRoom();
  await client.subscribe(room);
  await client.publish(room, words);
  expect((await client.next('message')).data).toEqual(words);
});
