/**
 * A peer for `npm run bench -- --peer socketio`: rooms of Socket.IO over its Redis adapter. Runs in a folder in which both
 * are installed.
 */
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';

const publisher = new Redis(process.env.REDIS_URL);
const http = createServer();
const server = new Server(http, {
  transports: ['websocket'],
  adapter: createAdapter(publisher, publisher.duplicate()),
  perMessageDeflate: false,
});

server.on('connection', (socket) => {
  socket.on('join', async (room) => {
    await socket.join(room);
    socket.emit('joined', room);
  });
  socket.on('publish', (room, data) => server.to(room).emit('message', room, data));
});
http.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ msg: 'listening', port: http.address().port })}\n`);
});
process.once('SIGTERM', () => process.exit());
