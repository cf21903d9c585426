/**
 * What a client of Protobuf may send in one WebSocket message: any bytes, and frames of the client for JavaScript with some of
 * their bytes changed.
 *
 * What holds: nothing throws; each part is a request or a rejection; the parts are the message, cut in pieces; memory and time
 * are bounded by its bytes, whatever a length announces.
 */
import fc from 'fast-check';
import { expect } from 'vitest';
import { centrifugoProtobuf } from '../../gateway/protocol/centrifugo/protobuf/dialect.ts';
import { readAddress } from '../../gateway/protocol/centrifugo/return-address.ts';
import { arrayBuffer, codec } from '../unit/protocol/centrifugo-codec.ts';
import { bytesOf, fuzz, nearly, someBytes } from './kit.ts';

/** Bytes that begin lengths, tags, long varints and groups. */
const telling = '\x00\x01\x02\x08\x0a\x0b\x0c\x12\x1a\x22\x2a\x32\x3a\x42\x4a\x52\x5a\x62\x6a\x72\x7a\x7f\x80\xff';
const data = fc.uint8Array({ maxLength: 20 });
const channel = fc.constantFrom('a', 'chat:lobby', '');
const fields = fc.oneof(
  fc.record({ connect: fc.record({ token: fc.string(), data, subs: fc.dictionary(fc.string(), fc.constant({})) }) }),
  fc.record({ subscribe: fc.record({ channel, recover: fc.boolean(), offset: fc.nat(), epoch: fc.string() }) }),
  fc.record({ publish: fc.record({ channel, data }) }),
  fc.record({ history: fc.record({ channel, limit: fc.integer(), since: fc.record({ offset: fc.nat() }) }) }),
  fc.record({ rpc: fc.record({ method: fc.string(), data }) }),
  fc.record({ send: fc.record({ data }) }),
  fc.constant({}),
);
const good = fc
  .array(fc.tuple(fc.nat(), fields), { minLength: 1, maxLength: 4 })
  .map((commands) => codec.encodeCommands(commands.map(([id, each]) => ({ id, ...each }))))
  .map((bytes) => Buffer.from(bytes).toString('latin1'));

fuzz(
  'protobuf',
  'whatever bytes come, each part is a request or a rejection, and the parts are the message',
  fc.oneof(nearly(good, telling), someBytes(telling)),
  (text) => {
    const bytes = bytesOf(text);
    const parts = [...(centrifugoProtobuf.split?.(arrayBuffer(bytes)) ?? [])];
    expect(parts.length).toBeGreaterThan(0);
    expect(Buffer.concat(parts.map((part) => Buffer.from(part))).equals(bytes)).toBe(true);
    for (const part of parts) {
      const request = centrifugoProtobuf.decode(part);
      // A `send` is a call that nobody answers.
      if (request.id === undefined) expect(['rejected', 'pong', 'call']).toContain(request.type);
      else expect(readAddress(request.id)?.number).toBeGreaterThan(0);
    }
  },
);
