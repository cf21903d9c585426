/**
 * The slots of Redis Cluster: which slot a key or channel lies in, and for each slot a name that lies in it.
 *
 * Pure functions. Source: the Redis Cluster specification, "Key distribution model" and "Hash tags".
 */

export const slotCount = 16_384;

/** CRC16-CCITT (XMODEM): polynomial 0x1021, no reflection, initial value 0. */
const crcOfByte = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc;
});

const brace = 0x7d;

/** The slot of what stands in braces in a key: a name in ASCII, as rooms are. The first `}` ends it. */
export function slotOf(tag: string): number {
  let crc = 0;
  for (let index = 0; index < tag.length; index++) {
    const byte = tag.charCodeAt(index);
    if (byte === brace) break;
    crc = ((crc << 8) & 0xffff) ^ (crcOfByte[(crc >> 8) ^ byte] ?? 0);
  }
  return crc & (slotCount - 1);
}

let tags: string[] | undefined;

/** A name of at most four characters that lies in this slot. Always the same one: stored keys have it. */
export function tagOf(slot: number): string {
  tags ??= findTags();
  return tags[slot] ?? '';
}

/** About 170,000 names are tried, 20 ms, once for each process. */
function findTags(): string[] {
  const found = new Array<string>(slotCount);
  let missing = slotCount;
  for (let number = 0; missing > 0; number++) {
    const tag = number.toString(36);
    const slot = slotOf(tag);
    if (found[slot] !== undefined) continue;
    found[slot] = tag;
    missing--;
  }
  return found;
}
