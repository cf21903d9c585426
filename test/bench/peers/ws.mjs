/**
 * A peer for `npm run bench -- --peer ws`: the work of the reference, done with ws and ioredis. Runs in a folder in which
 * both are installed; speaks as reference.ts does.
 */
import { Redis } from 'ioredis';
import { WebSocketServer } from 'ws';

const publisher = new Redis(process.env.REDIS_URL, { enableAutoPipelining: true });
const subscriber = new Redis(process.env.REDIS_URL);
/** By room: its members, and the subscription to its channel. */
const rooms = new Map();

subscriber.on('message', (name, frame) => {
  for (const socket of rooms.get(name)?.members ?? []) socket.send(frame);
});

async function join(socket, name) {
  const room = rooms.get(name) ?? { members: new Set(), subscribed: subscriber.subscribe(name) };
  rooms.set(name, room);
  await room.subscribed;
  room.members.add(socket);
  socket.once('close', () => room.members.delete(socket));
  socket.send(`{"joined":"${name}"}`);
}

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
server.on('connection', (socket) => {
  socket.on('message', (text) => {
    const frame = JSON.parse(text);
    if (frame.join !== undefined) join(socket, frame.join);
    else publisher.publish(frame.room, JSON.stringify(frame));
  });
});
server.on('listening', () => {
  process.stdout.write(`${JSON.stringify({ msg: 'listening', port: server.address().port })}\n`);
});
process.once('SIGTERM', () => process.exit());
