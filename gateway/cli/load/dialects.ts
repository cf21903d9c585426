/**
 * The protocol of each server: the gateway's own, one of three frames for the bare programs, Socket.IO's and Centrifugo's. Pure
 * texts; it knows no socket.
 */
import { createHmac } from 'node:crypto';
import { centrifugo, centrifugoProtobuf } from './centrifugo.ts';

const tokenLifeSeconds = 36_000;

/** A secret (HS256) makes each connection a user with a token of its own; otherwise all of them use one token. */
export type Credentials = { secret: string; claims: { iss?: string; aud?: string; exp?: number } } | { token: string };

/** The position to resume a room with history from. */
export interface Position {
  epoch: string;
  offset: number;
}

export interface Dialect {
  path: string;
  /** HTTP headers of this user's handshake. */
  headers(user: string, credentials: Credentials): string[];
  /** Frames that must come before rooms can be joined, each by a part of its text, with the reply to each. */
  opening: { awaits: string; say?: string }[];
  /** Its frames are binary. Each character of a text here is a byte then. */
  binary?: true;
  /** What a client says first, once it is connected. */
  hello?(token: string): string;
  /** Where the first message of a frame ends, if a frame may hold several. It begins at `start`; the frame ends at `end`. */
  messageEnd?(bytes: Uint8Array, start: number, end: number): number;
  join(room: string, since?: Position): string;
  /** Is a part of the answer to a join. */
  joined: string;
  /** Is a part of a refusal. */
  refused?: string;
  /** Each is a part of frames that say nothing of messages. */
  notices?: string[];
  /** The frame that publishes a string. `payload` needs no escapes. */
  publish(room: string, payload: string): string;
  /** Is a part of the answer to a publish, if there is one. */
  published?: string;
  /** A heartbeat in frames of its own, and the answer to it. */
  heartbeat?: { ping: string; pong: string };
}

export type DialectName = keyof typeof dialects;

const gateway: Dialect = {
  path: '/ws',
  headers: (user, credentials) => [`Authorization: Bearer ${tokenOf(user, credentials)}`],
  opening: [],
  join: (room, since) => JSON.stringify({ type: 'subscribe', id: 1, room, since }),
  joined: '"type":"ok"',
  refused: '"type":"error"',
  notices: ['"type":"join"', '"type":"leave"'],
  publish: (room, payload) => `{"type":"publish","room":"${room}","data":"${payload}"}`,
};

const bare: Dialect = {
  path: '/',
  headers: () => [],
  opening: [],
  join: (room) => `{"join":"${room}"}`,
  joined: '"joined"',
  publish: (room, payload) => `{"room":"${room}","data":"${payload}"}`,
};

const socketio: Dialect = {
  path: '/socket.io/?EIO=4&transport=websocket',
  headers: () => [],
  opening: [{ awaits: '0{', say: '40' }, { awaits: '40{' }],
  join: (room) => `42["join","${room}"]`,
  joined: '42["joined"',
  publish: (room, payload) => `42["publish","${room}","${payload}"]`,
  heartbeat: { ping: '2', pong: '3' },
};

export const dialects = { gateway, bare, socketio, centrifugo, centrifugoProtobuf };

/** With a secret the token is good for every room. */
export function tokenOf(user: string, credentials: Credentials): string {
  if ('token' in credentials) return credentials.token;
  const { secret, claims: more } = credentials;
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const claims = {
    sub: user,
    exp: Math.floor(Date.now() / 1000) + tokenLifeSeconds,
    rooms: { '*': ['subscribe', 'publish'] },
    ...more,
  };
  const signed = `${encode({ alg: 'HS256' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}
