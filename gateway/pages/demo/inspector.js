/**
 * The inspector: the last frames as they came, and between them what happened to the line.
 *
 * Owns its list, with a bound. A row shows its frame in full when it is opened. Frames are text: nothing of them becomes HTML.
 */
const maxRows = 200;

export class Inspector {
  #list;
  #pings;

  constructor(list, { pings, clear }) {
    this.#list = list;
    this.#pings = pings;
    list.classList.toggle('with-pings', pings.checked);
    pings.addEventListener('change', () => list.classList.toggle('with-pings', pings.checked));
    clear.addEventListener('click', () => list.replaceChildren());
  }

  /** `direction` is `in` or `out`, `number` that of the connection. */
  frame(number, direction, text) {
    const frame = JSON.parse(text);
    // Somebody may look on, and whoever has the token is the user.
    if (frame.token !== undefined) frame.token = '…';
    const details = element('details', '');
    const summary = element(
      'summary',
      '',
      time(),
      element('span', 'via', `${direction === 'in' ? '↓' : '↑'}${number}`),
    );
    summary
      .querySelector('.via')
      .append(element('span', 'hidden', ` ${direction === 'in' ? 'received' : 'sent'} on connection ${number}`));
    summary.append(element('b', '', frame.type), element('span', 'what', whatOf(frame)));
    details.append(summary);
    details.addEventListener('toggle', () => {
      details.querySelector('pre')?.remove();
      if (details.open) details.append(element('pre', '', JSON.stringify(frame, null, 2)));
    });
    const row = element('li', `frame ${direction}`, details);
    row.dataset.type = frame.type;
    row.dataset.connection = `${number % 2}`;
    if (frame.type === 'ping' || frame.type === 'pong') row.classList.add('beat');
    this.#add(row);
  }

  /** What happened, in words. `kind`: `good`, `bad` or nothing. */
  note(text, kind = '') {
    this.#add(element('li', `event ${kind}`, time(), element('span', '', text)));
  }

  #add(row) {
    const list = this.#list;
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(row);
    while (list.children.length > maxRows) (this.#oldestBeat() ?? list.firstElementChild).remove();
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  }

  /** Pings go first, so that a quiet line does not push out what one wants to see. */
  #oldestBeat() {
    return this.#pings.checked ? undefined : this.#list.querySelector('.beat');
  }
}

/** The fields that tell most, in one line. */
function whatOf({ room, offset, recovered, data, code, reason, members, messages, user, since, id }) {
  const parts = [
    room?.replace(/^demo:/, ''),
    since && `since ${since.offset}`,
    offset !== undefined && `#${offset}`,
    recovered !== undefined && `recovered: ${recovered}`,
    data !== undefined && JSON.stringify(data),
    code ?? reason,
    user,
    messages && `${messages.length} messages`,
    members?.map((member) => member.user ?? 'anonymous').join(', '),
  ].filter(Boolean);
  return parts.length > 0 || id === undefined ? parts.join(' ') : `id ${id}`;
}

function time() {
  const now = new Date();
  const text = `${now.toTimeString().slice(0, 8)}.${`${now.getMilliseconds()}`.padStart(3, '0')}`;
  const stamp = element('time', '', text);
  stamp.dateTime = now.toISOString();
  return stamp;
}

export function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className !== '') made.className = className;
  made.append(...content);
  return made;
}
