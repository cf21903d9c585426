/** shared/client/binary.ts: what a client with `binary` hears, without a network. */
import { expect, test } from 'vitest';
import { msgpack } from '../../../gateway/protocol/msgpack/dialect.ts';
import { MessageStamper } from '../../../gateway/protocol/roomcast/message.ts';
import { binary } from '../../../shared/client/binary.ts';
import type { WebSocketConstructor } from '../../../shared/client/connection/websocket.ts';

type Line = { onmessage: (event: { data: unknown }) => void };

test.each(['{"__proto__":1}', '{"a":{"__proto__":{"b":[{"__proto__":null}]},"c":2},"":3,"proto":4}'])(
  'data with the key `__proto__` is heard as any other: %s',
  (data) => {
    const lines: Line[] = [];
    function Plain(this: Line) {
      lines.push(this);
    }
    const { WebSocket } = binary({ url: '', WebSocket: Plain as unknown as WebSocketConstructor } as never);
    const socket = new (WebSocket as WebSocketConstructor)('ws://gateway', ['json']) as unknown as Line;
    const frames: unknown[] = [];
    socket.onmessage = (event) => frames.push(event.data);
    const { prefix, suffix } = new MessageStamper().stamp({ room: 'a', data, key: undefined }, 'ann', undefined);
    const frame = msgpack.message(Buffer.from(prefix + suffix), undefined) as Uint8Array;
    lines[0]?.onmessage({ data: Uint8Array.from(frame).buffer });
    expect(frames).toEqual([expect.objectContaining({ type: 'message', room: 'a' })]);
    const told = (frames[0] as { data: object }).data;
    // Which of two keys is first may differ.
    const sorted = (value: unknown): unknown =>
      typeof value === 'object' && value !== null
        ? Object.entries(value)
            .map(([key, inner]) => [key, sorted(inner)])
            .sort(([one], [other]) => (String(one) < String(other) ? -1 : 1))
        : value;
    expect(sorted(told)).toEqual(sorted(JSON.parse(data)));
    expect(Object.getPrototypeOf(told)).toBe(Object.prototype);
  },
);
