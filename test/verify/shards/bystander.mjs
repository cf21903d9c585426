/**
 * A process of its own with a few clients: it publishes to its rooms in turn, and measures how long each message
 * takes to each client. The process of the run is busy with hundreds of clients, and would measure itself.
 *
 * Started by bystanders.ts, which tells it where the nodes are. Times are microseconds of the machine's one monotonic clock.
 */
import { WebSocket } from 'ws';

const tickMs = 50;
const againMs = 500;
const now = () => Number(process.hrtime.bigint() / 1000n);

/** By number, as they are told. */
const links = new Map();
/** Sent at, room, microseconds. */
const samples = [];
let turn = 0;

function connect(index, { url, token, rooms }) {
  links.get(index)?.terminate();
  const socket = new WebSocket(url, ['roomcast.v1.json'], { headers: { authorization: `Bearer ${token}` } });
  links.set(index, socket);
  // `close` follows every error.
  socket.on('error', () => undefined);
  socket.on('close', () => links.get(index) === socket && links.delete(index));
  socket.on('message', (data) => {
    const frame = JSON.parse(String(data));
    if (frame.type === 'message') samples.push([frame.data, frame.room, now() - frame.data]);
    if (frame.type === 'welcome') for (const room of rooms) subscribe(socket, room);
    // Requests with a room as their id are subscriptions.
    if (frame.type === 'error' && typeof frame.id === 'string') setTimeout(() => subscribe(socket, frame.id), againMs);
  });
  socket.on('open', () => {
    const timer = setInterval(() => publish(socket, rooms), tickMs);
    socket.on('close', () => clearInterval(timer));
  });
}

function subscribe(socket, room) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: 'subscribe', id: room, room }));
}

function publish(socket, rooms) {
  const room = rooms[turn++ % rooms.length];
  socket.send(JSON.stringify({ type: 'publish', id: turn, room, data: now() }));
}

process.on('message', ({ index, ...where }) => {
  if (index !== undefined) return connect(index, where);
  process.send(samples, () => process.exit(0));
});
process.on('disconnect', () => process.exit(0));
