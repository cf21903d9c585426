/**
 * The demo page, put together: the client library, the line below it, the rooms, and what one can break.
 *
 * The way a message goes: a WebSocket of line.js > the library > room.js. What the library is told is in docs/client.md.
 */
import { connect } from '/client.js';
import { element, Inspector } from './inspector.js';
import { createLine } from './line.js';
import { avatar, RoomView } from './room.js';

const byId = (id) => document.getElementById(id);
const inspector = new Inspector(byId('frames'), { pings: byId('pings'), clear: byId('clear') });
const note = (text, kind) => inspector.note(text, kind);
const counts = { received: 0, recovered: 0, gaps: 0 };
const latencies = [];
const maxLatencies = 40;
const maxRooms = 8;
const views = new Map();
let shown;

const line = createLine({
  frame: (socket, direction, text) => {
    inspector.frame(socket.number, direction, text);
    if (direction === 'in') requestAnimationFrame(showPosition);
  },
  changed: showLine,
  welcomed: ({ number }, ms) => note(`connection ${number} open after ${Math.round(ms)} ms`, 'good'),
  asked: ({ number }) => note(`connection ${number} is asked to move: the next one opens first`),
  latency: showLatency,
  ended: ({ number }, { code, reason }) => {
    const why = reason === '' ? code : `${code}, ${reason}`;
    if (number === undefined) note('attempt to connect: the line is cut', 'bad');
    else note(`connection ${number} ended: ${why}`, code === 1000 ? '' : 'bad');
  },
});

/** A tab stays the same guest when it is loaded again, and when its node begins anew. */
async function getToken() {
  const response = await fetch(`/demo/token?user=${sessionStorage.user ?? ''}`);
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  const token = await response.text();
  sessionStorage.user = JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))).sub;
  return token;
}

const address = new URL('/ws', location.href);
address.protocol = address.protocol.replace('http', 'ws');
const token = await firstToken();
const user = sessionStorage.user;
const client = connect(address, { token, getToken, WebSocket: line.WebSocket });
client.on('state', showLine);
client.on('error', (error) => {
  note(error.message, 'bad');
  showLine();
});
byId('me').append(avatar(user), `You are ${user}`);

/** The node may be starting. */
async function firstToken() {
  for (;;) {
    try {
      return await getToken();
    } catch (error) {
      note(`no token yet: ${error.message}`, 'bad');
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }
}

function showLine() {
  const { open, isCut } = line;
  const words = {
    connecting: ['connecting', 'connecting'],
    waiting: ['waiting', 'waiting for the next attempt'],
    closed: ['closed', 'ended by the node'],
    open: open.length > 1 ? ['moving', 'moving to a new connection'] : ['open', 'connected'],
  }[client.state];
  const [name, text] = isCut && client.state !== 'closed' ? ['cut', 'line cut'] : words;
  const pill = byId('state');
  pill.dataset.state = name;
  if (pill.textContent !== text) pill.textContent = text;
  const { node, connection } = open.at(-1)?.welcome ?? {};
  byId('node').textContent = node ?? '–';
  byId('connection').textContent = connection?.replace(`${node}-`, '') ?? '–';
  if (open.length === 0) showLatency();
  byId('again').hidden = client.state !== 'closed';
}

function showLatency(ms) {
  byId('latency').textContent = ms === undefined ? '–' : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms === undefined) return;
  latencies.push(ms);
  if (latencies.length > maxLatencies) latencies.shift();
  const top = Math.max(...latencies, 1);
  const step = 120 / (maxLatencies - 1);
  const start = 120 - step * (latencies.length - 1);
  const points = latencies.map(
    (each, index) => `${(start + index * step).toFixed(1)},${(26 - (24 * each) / top).toFixed(1)}`,
  );
  byId('spark').firstElementChild.setAttribute('points', points.join(' '));
}

function showCounts() {
  for (const [id, count] of Object.entries(counts)) byId(id).textContent = count;
}

function showPosition() {
  byId('position').textContent = views.get(shown)?.position?.offset ?? '–';
}

function enter(name) {
  if (!views.has(name)) {
    const view = new RoomView(client, user, name, byId('panel'), {
      note,
      received: (view, { recovered }) => {
        counts.received++;
        if (recovered) counts.recovered++;
        showCounts();
        if (view.name !== shown) unread(view.name);
      },
      gap: () => {
        counts.gaps++;
        showCounts();
      },
    });
    views.set(name, view);
    view.panel.querySelector('.leave').addEventListener('click', () => leave(name));
    byId('panels').append(view.panel);
    byId('rooms').append(tab(name));
    view.join().then(
      () => view.scrollToEnd(),
      (error) => note(`${name}: ${error.message}`, 'bad'),
    );
  }
  show(name);
}

function tab(name) {
  const button = element('button', 'tab', name);
  button.type = 'button';
  button.addEventListener('click', () => show(name));
  const item = element('li', '', button);
  item.dataset.room = name;
  return item;
}

const tabOf = (name) => byId('rooms').querySelector(`[data-room="${name}"] button`);

function unread(name) {
  const button = tabOf(name);
  const count = Number(button.querySelector('.unread')?.dataset.count ?? 0) + 1;
  button.querySelector('.unread')?.remove();
  const mark = element('span', 'unread', `${count}`, element('span', 'hidden', ' new'));
  mark.dataset.count = count;
  button.append(' ', mark);
}

function show(name) {
  shown = name;
  for (const [other, view] of views) {
    view.panel.hidden = other !== name;
    tabOf(other).setAttribute('aria-current', other === name);
    view.panel.querySelector('.leave').hidden = views.size === 1;
  }
  tabOf(name).querySelector('.unread')?.remove();
  views.get(name).scrollToEnd();
  sessionStorage.rooms = JSON.stringify([...views.keys()]);
  history.replaceState(null, '', `#${name}`);
  showPosition();
}

function leave(name) {
  const view = views.get(name);
  views.delete(name);
  tabOf(name).parentElement.remove();
  view.panel.remove();
  view.leave().then(
    () => note(`${name}: left`),
    (error) => note(`${name}: ${error.message}`, 'bad'),
  );
  const next = [...views.keys()].at(-1);
  show(next);
  tabOf(next).focus();
}

byId('join').addEventListener('submit', (event) => {
  event.preventDefault();
  const input = byId('room-name');
  const name = input.value.trim().toLowerCase();
  const problem = !isName(name)
    ? 'A name has letters from a to z, digits and hyphens, at most 32.'
    : views.size >= maxRooms && !views.has(name)
      ? `Leave a room first: ${maxRooms} are enough for a demo.`
      : '';
  byId('join-problem').textContent = problem;
  byId('join-problem').hidden = problem === '';
  if (problem !== '') return;
  input.value = '';
  enter(name);
  views.get(name).focus();
});

function isName(name) {
  return /^[a-z0-9-]{1,32}$/.test(name);
}

byId('cut').addEventListener('click', () => {
  if (line.isCut) {
    note('the line is restored', 'good');
    line.restore();
  } else {
    note('the line is cut', 'bad');
    line.cut();
  }
  byId('cut').textContent = line.isCut ? 'Restore the line' : 'Cut the line';
  showLine();
});

byId('drain').addEventListener('click', async () => {
  note('the node is asked to drain');
  const response = await fetch('/demo/drain', { method: 'POST' }).catch((error) => error);
  if (response.status !== 202) note(`the node does not drain: ${response.status ?? response.message}`, 'bad');
});

byId('again').addEventListener('click', () => location.reload());

const fromAddress = location.hash.slice(1);
const before = JSON.parse(sessionStorage.rooms ?? '["lobby"]');
for (const name of before.filter(isName)) enter(name);
if (isName(fromAddress)) enter(fromAddress);
showLine();
