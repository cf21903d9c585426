/** gateway/redis/cluster/slots.ts. That Redis agrees: test/contract/cluster.test.ts. */
import { expect, test } from 'vitest';
import { slotCount, slotOf, tagOf } from '../../../../gateway/redis/cluster/slots.ts';

test('a slot is the CRC16 of the specification', () => {
  // Redis Cluster specification, appendix A.
  expect(slotOf('123456789')).toBe(0x31c3);
  expect(slotOf('foo')).toBe(12_182);
});

test('each slot has a short tag of its own that lies in it', () => {
  const tags = Array.from({ length: slotCount }, (_, slot) => tagOf(slot));
  expect(new Set(tags).size).toBe(slotCount);
  expect(tags.every((tag, slot) => slotOf(tag) === slot && /^[0-9a-z]{1,4}$/.test(tag))).toBe(true);
});

test('stored keys have the tags: they are the same in every release', () => {
  expect([0, 1, 8_191, 16_383].map(tagOf)).toEqual(['1bz', 'emj', '7ho', 'hia']);
});
