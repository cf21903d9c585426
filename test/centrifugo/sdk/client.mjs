/** A member by centrifuge-js. Arguments, commands and events: ../member.ts. */
import { createInterface } from 'node:readline';
import { Centrifuge } from 'centrifuge';
import { Centrifuge as BinaryCentrifuge } from 'centrifuge/build/protobuf';
import { WebSocket } from 'ws';

const [form, url, tokens, room] = process.argv.slice(2);
const isBinary = form === 'protobuf';
const encode = (value) => (isBinary ? Buffer.from(JSON.stringify(value)) : value);
const decode = (data) => (isBinary ? JSON.parse(Buffer.from(data).toString()) : data);
const say = (event, fields = {}) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);

const Client = isBinary ? BinaryCentrifuge : Centrifuge;
const getToken = async () => (await fetch(tokens)).text();
const client = new Client(url, { websocket: WebSocket, getToken, minReconnectDelay: 100, maxReconnectDelay: 500 });
client.on('connected', () => say('connected'));
client.on('connecting', ({ code }) => say('connecting', { code }));
client.on('disconnected', ({ code }) => say('disconnected', { code }));
const subscription = client.newSubscription(room);
subscription.on('subscribed', ({ wasRecovering, recovered }) => say('subscribed', { wasRecovering, recovered }));
subscription.on('unsubscribed', ({ code }) => say('unsubscribed', { code }));
subscription.on('publication', ({ data, offset }) => say('publication', { data: decode(data), offset }));

const commands = {
  publish: async (data) => {
    await subscription.publish(encode(Number(data)));
    say('published');
  },
  presence: async () => {
    const { clients } = await subscription.presence();
    say('presence', { users: Object.values(clients).map(({ user }) => user) });
  },
  history: async () => {
    const { publications, offset } = await subscription.history({ limit: -1 });
    say('history', { offset, data: publications.map(({ data }) => decode(data)) });
  },
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const [name, argument] = line.split(' ');
  commands[name](argument).catch((error) => say('failed', { reason: JSON.stringify(error) }));
});
subscription.subscribe();
client.connect();
