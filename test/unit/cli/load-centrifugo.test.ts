/**
 * What the load client says and hears in Centrifugo's protocol, against the gateway's own reader and writer of it.
 */
import { describe, expect, test } from 'vitest';
import { type DialectName, dialects } from '../../../gateway/cli/load/dialects.ts';
import { blankPayload, findStamp } from '../../../gateway/cli/load/payload.ts';
import { centrifugo } from '../../../gateway/protocol/centrifugo/dialect.ts';
import { centrifugoProtobuf } from '../../../gateway/protocol/centrifugo/protobuf/dialect.ts';
import type { Dialect } from '../../../gateway/protocol/dialect.ts';
import type { Reply } from '../../../gateway/protocol/reply.ts';

const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'));

describe.each<[DialectName, Dialect]>([
  ['centrifugo', centrifugo],
  ['centrifugoProtobuf', centrifugoProtobuf],
])('%s', (name, server) => {
  const load = dialects[name];
  const decode = (frame: string) => server.decode(bytesOf(frame).buffer);
  const encode = (reply: Reply) => Buffer.from(server.encode(reply)).toString('latin1');

  test('the gateway reads what members and publishers send', () => {
    expect(decode(load.hello?.('abc') ?? '')).toMatchObject({ type: 'auth', token: 'abc' });
    expect(decode(load.join('r1'))).toMatchObject({ type: 'subscribe', room: 'r1', since: undefined });
    const since = { epoch: 'e', offset: 300 };
    expect(decode(load.join('r1', since))).toMatchObject({ type: 'subscribe', room: 'r1', since });
    const payload = blankPayload(128);
    expect(decode(load.publish('r1', payload))).toMatchObject({ type: 'publish', room: 'r1', data: `"${payload}"` });
    expect(decode(load.heartbeat?.pong ?? '')).toMatchObject({ type: 'pong' });
  });

  test('members and publishers know the answers of the gateway', () => {
    const answerTo = (frame: string, reply: object) => encode({ ...reply, id: decode(frame).id } as Reply);
    const welcome = { type: 'welcome', connection: 'n-1', expiresAt: null, pingIntervalMs: 25_000 };
    expect(answerTo(load.hello?.('abc') ?? '', welcome)).toContain(load.opening[0]?.awaits);
    expect(answerTo(load.join('r1'), { type: 'ok', room: 'r1' })).toContain(load.joined);
    const refusal = { type: 'error', code: 'forbidden', message: 'no' };
    expect(answerTo(load.join('r1'), refusal)).toContain(load.refused);
    expect(answerTo(load.publish('r1', 'x'), { type: 'ok' })).toContain(load.published);
    expect(Buffer.from(server.ping ?? '').toString('latin1')).toBe(load.heartbeat?.ping);
  });

  test('a frame with several replies is taken apart, and each message has its stamp', () => {
    const native = Buffer.from(
      `{"type":"message","room":"r1","id":"i","data":"${blankPayload(128)}","from":"u","at":1}`,
    );
    const one = Buffer.from(server.message(native, undefined));
    const parts = [one, Buffer.from(server.ping ?? ''), one];
    const frame = Buffer.concat(
      server.binary ? parts : parts.flatMap((part) => [part, Buffer.from('\n')]).slice(0, -1),
    );
    const found: number[] = [];
    for (let at = 0; at < frame.length; ) {
      const end = load.messageEnd?.(frame, at, frame.length) ?? 0;
      found.push(findStamp(frame, at, end, 0));
      at = end;
    }
    expect(found).toEqual([expect.any(Number), -1, expect.any(Number)]);
    expect(found[2]).toBeGreaterThan(one.length);
  });
});
