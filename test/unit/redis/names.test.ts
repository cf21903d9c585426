/** gateway/redis/names.ts: what keeps rooms, databases and nodes apart in one Redis. */
import { expect, test } from 'vitest';
import { slotOf, tagOf } from '../../../gateway/redis/cluster/slots.ts';
import { RedisNames, sharedHome } from '../../../gateway/redis/names.ts';

test('keys and channel of a room share its name in braces, which keeps them in one slot of a cluster', () => {
  const names = new RedisNames('rc', 0);
  expect([names.room('chat:1'), names.channel('chat:1')]).toEqual(['rc:{chat:1}', 'rc:{chat:1}']);
});

test('in a cluster no room shares a key with leases, blocks, the outbox or a line, whatever it is called', () => {
  const names = new RedisNames('rc', 0, sharedHome);
  const slot = slotOf('chat:1');
  const shared = [names.nodes, names.blocks, names.outbox, names.outboxSender, names.homeLine];
  const all = [...shared, names.lineOf(slot), names.outboxOf(slot)];
  const ends = ['position', 'messages', 'members', 'users', 'counted', 'nodes', 'ended'];
  for (const room of [sharedHome, tagOf(slot)]) {
    for (const end of ends) expect(all).not.toContain(`${names.room(room)}:${end}`);
  }
});

test('channels, which all databases of a server share, carry the database; keys do not need it', () => {
  const names = new RedisNames('rc', 5);
  expect([names.room('chat:1'), names.channel('chat:1')]).toEqual(['rc:{chat:1}', 'rc:@5:{chat:1}']);
  expect(names.canaryChannel('node', 'run')).toBe('rc:@5:canary:node:run');
  expect([names.commands, names.answers('node-run')]).toEqual(['rc:@5:control', 'rc:@5:control:node-run']);
  expect(names.blocks).toBe('rc:blocks');
});
