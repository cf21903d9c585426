/**
 * The client protocol of Centrifugo for the load client, as JSON and as Protobuf: as much of it as a member and a publisher need.
 * Pure texts; in those of Protobuf each character is a byte.
 *
 * Every publish has an answer. A server may put several replies into one frame.
 */
import type { Dialect, Position } from './dialects.ts';

const path = '/connection/websocket';
const lineFeed = 0x0a;

export const centrifugo: Dialect = {
  path,
  headers: () => [],
  hello: (token) => `{"id":1,"connect":{"token":"${token}"}}`,
  opening: [{ awaits: '"connect":{' }],
  join: (channel, since) =>
    JSON.stringify({ id: 2, subscribe: { channel, ...(since === undefined ? {} : { recover: true, ...since }) } }),
  joined: '"subscribe":{',
  refused: '"error":{',
  notices: ['"join":{', '"leave":{'],
  publish: (channel, payload) => `{"id":3,"publish":{"channel":"${channel}","data":"${payload}"}}`,
  published: '"publish":{',
  heartbeat: { ping: '{}', pong: '{}' },
  messageEnd: (bytes, start, end) => {
    for (let at = start; at < end; at++) if (bytes[at] === lineFeed) return at + 1;
    return end;
  },
};

// The numbers of the fields: gateway/protocol/centrifugo/protobuf/schema.ts.
const command = { connect: 4, subscribe: 5, publish: 7 };
const reply = { error: 2, connect: 5, subscribe: 6, publish: 8 };

export const centrifugoProtobuf: Dialect = {
  ...centrifugo,
  binary: true,
  headers: () => ['Sec-WebSocket-Protocol: centrifuge-protobuf'],
  hello: (token) => sized(`${integer(1, 1)}${field(command.connect, field(1, token))}`),
  opening: [{ awaits: `${integer(1, 1)}${tag(reply.connect)}` }],
  join: (channel, since) => sized(`${integer(1, 2)}${field(command.subscribe, field(1, channel) + from(since))}`),
  joined: `${integer(1, 2)}${tag(reply.subscribe)}`,
  refused: `${integer(1, 2)}${tag(reply.error)}`,
  notices: [],
  publish: (channel, payload) => {
    return sized(`${integer(1, 3)}${field(command.publish, field(1, channel) + field(2, `"${payload}"`))}`);
  },
  published: `${integer(1, 3)}${tag(reply.publish)}`,
  // An empty command, and an empty reply: nothing but their length.
  heartbeat: { ping: '\0', pong: '\0' },
  messageEnd: (bytes, start, end) => {
    let size = 0;
    let at = start;
    for (let factor = 1; at < end; factor *= 0x80) {
      const byte = bytes[at++] as number;
      size += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
    }
    return Math.min(end, at + size);
  },
};

function from(since: Position | undefined): string {
  return since === undefined ? '' : integer(3, 1) + field(6, since.epoch) + integer(7, since.offset);
}

function sized(bytes: string): string {
  return varint(bytes.length) + bytes;
}

/** Of a string, of bytes or of a message. */
function field(number: number, bytes: string): string {
  return tag(number) + sized(bytes);
}

function tag(number: number): string {
  return varint(number * 8 + 2);
}

function integer(number: number, value: number): string {
  return varint(number * 8) + varint(value);
}

function varint(value: number): string {
  return value < 0x80
    ? String.fromCharCode(value)
    : String.fromCharCode((value % 0x80) | 0x80) + varint(Math.floor(value / 0x80));
}
