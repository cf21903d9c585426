/**
 * The reference: the same job with nothing around it, in uWebSockets.js and ioredis. No tokens, no rights, no checks, no
 * history, no bounds except the library's.
 *
 * It answers `{"join": room}` with `{"joined": room}` once Redis has confirmed the subscription, and sends `{"room", "data"}`
 * through Redis to every member. It takes a free port and prints it to standard output. Redis is at REDIS_URL.
 */

import { App, us_listen_socket_close, us_socket_local_port, type WebSocket } from 'uWebSockets.js';
import { Redis } from 'ioredis';

interface Member {
  rooms: string[];
  isOpen: boolean;
}

const redisUrl = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379';
const publisher = new Redis(redisUrl);
const subscriber = new Redis(redisUrl);
/** By room: how many are in it, and the subscription to its channel. */
const rooms = new Map<string, { members: number; subscribed: Promise<unknown> }>();
const utf8 = new TextDecoder();
const app = App();

subscriber.on('messageBuffer', (channel: Buffer, frame: Buffer) => {
  app.publish(channel, frame, false);
});

async function join(socket: WebSocket<Member>, name: string): Promise<void> {
  const member = socket.getUserData();
  const room = rooms.get(name) ?? { members: 0, subscribed: subscriber.subscribe(name) };
  rooms.set(name, room);
  room.members++;
  member.rooms.push(name);
  await room.subscribed;
  if (!member.isOpen) return;
  socket.subscribe(name);
  socket.send(`{"joined":"${name}"}`);
}

function leave(name: string): void {
  const room = rooms.get(name);
  if (room === undefined || --room.members > 0) return;
  rooms.delete(name);
  void subscriber.unsubscribe(name);
}

app.ws<Member>('/*', {
  maxBackpressure: 256 * 1024 * 1024,
  open(socket) {
    Object.assign(socket.getUserData(), { rooms: [], isOpen: true });
  },
  message(socket, bytes) {
    const frame = JSON.parse(utf8.decode(bytes)) as { join: string } | { room: string; data: unknown };
    if ('join' in frame) void join(socket, frame.join);
    else void publisher.publish(frame.room, JSON.stringify({ room: frame.room, data: frame.data }));
  },
  close(socket) {
    const member = socket.getUserData();
    member.isOpen = false;
    for (const name of member.rooms) leave(name);
  },
});

app.listen('127.0.0.1', 0, (socket) => {
  if (socket === false) throw new Error('no port to listen on');
  process.stdout.write(`${JSON.stringify({ msg: 'listening', port: us_socket_local_port(socket) })}\n`);
  process.once('SIGTERM', () => {
    us_listen_socket_close(socket);
    process.exit();
  });
});
