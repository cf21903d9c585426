/** The view of one room: who is in it, its last messages, and those that come. */

import { make, setText } from '../elements.js';
import { clock, count, list, rate, size } from '../format.js';
import { call, follow, RequestError } from '../session.js';
import { connectionsTable } from './connections-table.js';

const mostMessages = 200;
const mostMembers = 100;
const membersEveryMs = 5_000;
const retryMs = 2_000;
/** The rate is that of so many seconds. */
const rateSeconds = 5;
/** Longer data are cut in the list. */
const mostCharacters = 2_000;

/** @param {string} room */
export function roomView(room) {
  const closing = new AbortController();
  const status = make('p', { class: 'note', role: 'status' }, 'Waiting for messages.');
  const messages = make('ol', { class: 'messages', 'aria-label': 'Messages, the newest first', tabindex: 0 });
  const [memberCount, messageRate] = [make('b', {}, '–'), make('b', {}, '0')];
  const members = connectionsTable('Members', () => void loadMembers());
  const membersNote = make('p', { class: 'note' });
  const log = new MessageLog(messages);
  const pause = make(
    'button',
    {
      type: 'button',
      class: 'small',
      'aria-pressed': 'false',
      onclick: () => pause.setAttribute('aria-pressed', String(log.pause())),
    },
    'Pause',
  );

  const loadMembers = async () => {
    try {
      const query = new URLSearchParams({ room, limit: String(mostMembers) });
      const { connections, more, missing } = await call(`/api/connections?${query}`);
      setText(memberCount, `${connections.length}${more ? '+' : ''}`);
      members.show(connections, 'Nobody is in the room.');
      const late = missing === undefined ? '' : `No answer from ${list(missing)}: their members are not shown. `;
      setText(membersNote, `${late}${more ? `The first ${mostMembers}; find others under Connections.` : ''}`);
    } catch (error) {
      setText(membersNote, String(/** @type {Error} */ (error).message));
    }
  };
  const loadHistory = async () => {
    try {
      const page = await call(`/api/rooms/${encodeURIComponent(room)}/messages?limit=50`);
      log.addOld(page.messages);
      setText(status, 'Live: the last messages of its history, and those that come.');
    } catch (error) {
      setText(status, `Live. ${/** @type {Error} */ (error).message}`);
    }
  };
  /** @param {boolean} hasHistory */
  const begin = (hasHistory) => {
    if (!hasHistory) {
      setText(status, 'Live. The room keeps no history: messages appear as they come.');
      return;
    }
    // After an interruption too: what was missed has its place between the others.
    log.clear();
    void loadHistory();
  };
  const tail = async () => {
    while (!closing.signal.aborted) {
      try {
        await follow(`/dashboard/rooms/${encodeURIComponent(room)}/tail`, closing.signal, (name, data) => {
          if (name === 'open') begin(data.history);
          if (name === 'messages') log.add(data);
          if (name === 'trouble') setText(status, `No messages come: ${data.detail}. Trying again.`);
        });
      } catch (error) {
        if (error instanceof RequestError && error.status < 500) {
          setText(status, error.message);
          return;
        }
        if (!closing.signal.aborted) setText(status, 'The line to the node is lost. Trying again.');
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  };
  void tail();
  void loadMembers();
  const timers = [
    setInterval(() => document.visibilityState === 'visible' && void loadMembers(), membersEveryMs),
    setInterval(() => setText(messageRate, rate(log.rate())), 1_000),
  ];
  const element = make(
    'div',
    { class: 'room' },
    make(
      'header',
      { class: 'card room-head' },
      make('p', {}, make('a', { href: '#/rooms' }, 'Rooms'), ' /'),
      make('h1', {}, room),
      make(
        'p',
        { class: 'readout' },
        make('span', {}, memberCount, ' connections'),
        make('span', {}, messageRate, ' messages /s'),
      ),
    ),
    make(
      'section',
      { class: 'card' },
      make('div', { class: 'head' }, make('h2', {}, 'Messages'), pause),
      status,
      messages,
    ),
    make('section', { class: 'card' }, make('h2', {}, 'Members'), membersNote, members.element),
  );
  return {
    element,
    title: room,
    close() {
      closing.abort();
      for (const timer of timers) clearInterval(timer);
    },
  };
}

/** The messages of a room, the newest first. Live ones may come before the history that has them too. */
class MessageLog {
  #list;
  #paused = false;
  /** Those that are shown, by position or id. @type {Set<string>} */
  #known = new Set();
  /** When messages came, with their number. @type {[at: number, messages: number][]} */
  #came = [];

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
  }

  /** Turns the pause on or off. Meanwhile messages are not shown, and not kept. */
  pause() {
    this.#paused = !this.#paused;
    return this.#paused;
  }

  clear() {
    this.#list.replaceChildren();
    this.#known.clear();
  }

  rate() {
    const since = performance.now() - rateSeconds * 1_000;
    this.#came = this.#came.filter(([at]) => at > since);
    return this.#came.reduce((sum, [, messages]) => sum + messages, 0) / rateSeconds;
  }

  /** The oldest first. @param {object[]} messages */
  addOld(messages) {
    const fresh = messages.filter((message) => this.#isNew(message));
    this.#list.append(...fresh.map((message) => itemOf(message)).reverse());
    this.#trim();
  }

  /** @param {{ messages: { text: string, bytes: number }[], skipped: number, gaps: number }} told */
  add({ messages, skipped, gaps }) {
    this.#came.push([performance.now(), messages.length + skipped]);
    if (this.#paused) return;
    for (const { text, bytes } of messages) {
      const message = parsed(text);
      if (message === undefined) this.#list.prepend(cutItem(text, bytes));
      else if (this.#isNew(message)) this.#list.prepend(itemOf(message, 'live'));
    }
    if (skipped > 0) this.#list.prepend(note(`${count(skipped)} more messages came; this list shows some of them.`));
    if (gaps > 0) this.#list.prepend(note('Messages may be missing here: the node told its members of a gap.'));
    this.#trim();
  }

  /** @param {any} message */
  #isNew({ id, offset, at }) {
    const place = id === undefined ? `${offset}@${at}` : id;
    if (this.#known.has(place)) return false;
    this.#known.add(place);
    return true;
  }

  #trim() {
    while (this.#list.children.length > mostMessages) this.#list.lastElementChild?.remove();
    if (this.#known.size > 10 * mostMessages) this.#known = new Set([...this.#known].slice(-2 * mostMessages));
  }
}

/** @param {any} message @param {string} [kind] */
function itemOf({ at, from, offset, key, data }, kind) {
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  const shown = text.length > mostCharacters ? `${text.slice(0, mostCharacters)}… (${size(text.length)})` : text;
  return make(
    'li',
    { class: kind },
    make(
      'p',
      { class: 'meta' },
      make('time', { datetime: new Date(at).toISOString() }, clock(at)),
      make('span', { class: 'from' }, from ?? 'the server'),
      offset === undefined ? null : make('span', {}, `#${offset}`),
      key === undefined ? null : make('span', {}, `key ${key}`),
    ),
    make('pre', {}, shown),
  );
}

/** @param {string} text @param {number} bytes */
function cutItem(text, bytes) {
  return make(
    'li',
    { class: 'live' },
    make('p', { class: 'meta' }, `${size(bytes)}, only its beginning is shown`),
    make('pre', {}, text),
  );
}

/** @param {string} text */
function note(text) {
  return make('li', { class: 'told' }, text);
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    // It was cut.
    return undefined;
  }
}
