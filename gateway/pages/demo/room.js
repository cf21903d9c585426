/**
 * A room on the page: its messages in order, who is here, who is typing, and the box to write in.
 *
 * Owns its panel and its two rooms at the gateway: the one that keeps messages, and a plain one in which only the newest word
 * on who is typing counts. Whatever others sent is text and never becomes HTML.
 */
import { element } from './inspector.js';

const maxShown = 200;
const typingEveryMs = 1_500;
const typingLastsMs = 3_500;

export class RoomView {
  name;
  panel;
  #client;
  #user;
  #listener;
  #room;
  #typing;
  /** By offset. */
  #shown = new Map();
  /** Own messages that are not in the room yet, by key. */
  #outgoing = new Map();
  #members = new Set();
  /** `join` and `leave` frames since `presence` was asked for last. */
  #changes = [];
  #others = 0;
  #typers = new Map();
  #typedAt = Number.NEGATIVE_INFINITY;

  /** `listener`: `received(view, message)`, `gap(view)`, `note(text, kind)`. */
  constructor(client, user, name, template, listener) {
    this.name = name;
    this.panel = template.content.firstElementChild.cloneNode(true);
    this.panel.setAttribute('aria-label', `Room ${name}`);
    this.#client = client;
    this.#user = user;
    this.#listener = listener;
    this.#room = client.room(`demo:${name}`);
    this.#typing = client.room(`demo:typing:${name}`);
    this.#listen();
    this.#find('form').addEventListener('submit', (event) => this.#submit(event));
    this.#find('input').addEventListener('input', () => this.#tellTyping());
  }

  get position() {
    return this.#room.position;
  }

  async join() {
    await this.#room.subscribe();
    await this.#typing.subscribe();
    await this.#readHistory();
    // Only what comes from now on is read aloud.
    this.#find('.scroll').setAttribute('aria-busy', 'false');
  }

  leave() {
    for (const timer of this.#typers.values()) clearTimeout(timer);
    return Promise.all([this.#room.unsubscribe(), this.#typing.unsubscribe()]);
  }

  focus() {
    this.#find('input').focus();
  }

  scrollToEnd() {
    const scroll = this.#find('.scroll');
    scroll.scrollTop = scroll.scrollHeight;
  }

  #find(selector) {
    return this.panel.querySelector(selector);
  }

  #listen() {
    const { note } = this.#listener;
    this.#room.on('message', (message) => {
      this.#show(message);
      this.#stopTyping(message.from);
      this.#listener.received(this, message);
    });
    this.#room.on('gap', ({ reason, count }) => {
      void this.#askWhoIsHere();
      if (count === 0) return;
      this.#listener.gap(this);
      note(`${this.name}: messages are missing here (${reason}), so the history is read again`, 'bad');
      this.#shown.clear();
      this.#find('.messages').replaceChildren();
      void this.#readHistory();
    });
    this.#room.on('state', ({ state, error }) => {
      const at = this.position === undefined ? '' : ` at offset ${this.position.offset}`;
      if (state === 'joined') note(`${this.name}: joined${at}`, 'good');
      else note(error === undefined ? `${this.name}: ${state}${at}` : `${this.name}: ${error.message}`, error && 'bad');
      if (state === 'joined') void this.#askWhoIsHere();
    });
    for (const change of ['join', 'leave']) {
      this.#room.on(change, (members) => {
        for (const { user } of members) {
          if (user === undefined) continue;
          this.#changes.push({ change, user });
          this.#apply({ change, user });
          this.#append(element('li', 'note', `${user} ${change === 'join' ? 'is here' : 'has left'}`));
          if (change === 'leave') this.#stopTyping(user);
        }
        this.#showMembers();
      });
    }
    this.#typing.on('message', ({ from }) => {
      if (from === undefined || from === this.#user) return;
      clearTimeout(this.#typers.get(from));
      this.#typers.set(
        from,
        setTimeout(() => this.#stopTyping(from), typingLastsMs),
      );
      this.#showTyping();
    });
  }

  async #readHistory() {
    try {
      const { messages } = await this.#room.history({ limit: 100 });
      for (const message of messages) this.#show(message);
    } catch (error) {
      this.#listener.note(`${this.name}: no history: ${error.message}`, 'bad');
    }
  }

  /** In the place that its offset gives it: history and live messages may come in any order. */
  #show({ offset, from, at, data, key, recovered }) {
    if (this.#shown.has(offset)) return;
    this.#outgoing.get(key)?.remove();
    this.#outgoing.delete(key);
    const item = messageItem({ user: from, isMine: from === this.#user, data });
    const stamp = element('time', '', new Date(at).toTimeString().slice(0, 5));
    stamp.dateTime = new Date(at).toISOString();
    item.querySelector('.head').append(stamp, element('span', 'offset', `#${offset}`));
    if (recovered) item.querySelector('.head').append(element('span', 'badge', 'recovered'));
    item.dataset.offset = offset;
    this.#shown.set(offset, item);
    const later = [...this.#find('.messages').children].find((other) => Number(other.dataset.offset) > offset);
    this.#append(item, later);
  }

  #append(item, before = null) {
    const scroll = this.#find('.scroll');
    const isAtEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
    const messages = this.#find('.messages');
    messages.insertBefore(item, before);
    while (messages.children.length > maxShown) {
      this.#shown.delete(Number(messages.firstElementChild.dataset.offset));
      messages.firstElementChild.remove();
    }
    if (isAtEnd) this.scrollToEnd();
  }

  async #submit(event) {
    event.preventDefault();
    const input = this.#find('input');
    const data = input.value.trim();
    if (data === '') return;
    input.value = '';
    this.#typedAt = Number.NEGATIVE_INFINITY;
    const key = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16)).join('-');
    const item = messageItem({ user: this.#user, isMine: true, data });
    const state = element('span', 'sending', 'sending…');
    item.querySelector('.head').append(state);
    this.#outgoing.set(key, item);
    this.#find('.outgoing').append(item);
    this.scrollToEnd();
    try {
      await this.#room.publish(data, { key });
    } catch (error) {
      item.classList.add('failed');
      state.textContent = `not sent: ${error.message}`;
    }
  }

  /** Only while there is a connection: an old word on who is typing is of no use later. */
  #tellTyping() {
    const now = performance.now();
    if (this.#client.state !== 'open' || now - this.#typedAt < typingEveryMs) return;
    this.#typedAt = now;
    this.#typing
      .publish(true, { echo: false })
      .catch((error) => this.#listener.note(`typing: ${error.message}`, 'bad'));
  }

  #stopTyping(user) {
    clearTimeout(this.#typers.get(user));
    if (this.#typers.delete(user)) this.#showTyping();
  }

  #showTyping() {
    const names = [...this.#typers.keys()];
    const who = names.length > 2 ? `${names.length} people` : names.join(' and ');
    this.#find('.typing').textContent = who && `${who} ${names.length > 1 ? 'are' : 'is'} typing…`;
  }

  /** What came as `join` or `leave` between the question and its answer is applied again (docs/protocol.md). */
  async #askWhoIsHere() {
    const changes = [];
    this.#changes = changes;
    try {
      const { members, users } = await this.#room.presence();
      if (changes !== this.#changes) return;
      this.#members = new Set(members.map(({ user }) => user ?? 'anonymous'));
      this.#others = Math.max(0, users - this.#members.size);
      for (const change of changes) this.#apply(change);
      this.#showMembers();
    } catch (error) {
      this.#listener.note(`${this.name}: nobody says who is here: ${error.message}`, 'bad');
    }
  }

  #apply({ change, user }) {
    if (change === 'join') this.#members.add(user);
    else this.#members.delete(user);
  }

  #showMembers() {
    const items = [...this.#members].sort().map((user) => {
      const item = element('li', '', avatar(user), user);
      if (user === this.#user) item.append(element('span', 'quiet', ' (you)'));
      return item;
    });
    if (this.#others > 0) items.push(element('li', '', `and ${this.#others} more`));
    this.#find('.members').replaceChildren(...items);
  }
}

/** `user` undefined: your backend published it. */
function messageItem({ user = 'backend', isMine, data }) {
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  const head = element('div', 'head', element('b', '', user));
  const body = element('div', 'body', head, element('p', 'text', text));
  return element('li', isMine ? 'message mine' : 'message', avatar(user), body);
}

export function avatar(user) {
  const made = element('span', 'avatar', user.replace(/^guest-/, '').slice(0, 2));
  made.setAttribute('aria-hidden', 'true');
  let hue = 0;
  for (const letter of user) hue = (hue * 31 + letter.charCodeAt(0)) % 360;
  made.style.setProperty('--hue', hue);
  return made;
}
