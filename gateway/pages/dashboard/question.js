/** Asks before something is done that cannot be undone, and tells what came of it. */
import { byId, make, setText } from './elements.js';
import { call } from './session.js';

/**
 * Resolves with the value of the button, or '' if the question was dismissed.
 * @param {string} title
 * @param {string} text
 * @param {{ value: string, label: string, dangerous?: boolean }[]} answers
 * @returns {Promise<string>}
 */
export function ask(title, text, answers) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('question'));
  setText(byId('question-title'), title);
  setText(byId('question-text'), text);
  const buttons = [
    make('button', { value: '', autofocus: true, class: 'quiet' }, 'Cancel'),
    ...answers.map(({ value, label, dangerous }) =>
      make('button', { value, class: dangerous ? 'danger' : undefined }, label),
    ),
  ];
  byId('question-buttons').replaceChildren(...buttons);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue), { once: true }));
}

let timer = 0;

/** Shows a sentence for some seconds. @param {string} text */
export function tell(text) {
  setText(byId('told'), text);
  clearTimeout(timer);
  timer = window.setTimeout(() => setText(byId('told'), ''), 8_000);
}

/**
 * Asks whether a connection shall be disconnected, and does it. Resolves with true if one was.
 * @param {{ connection: string, user: string | null, node: string }} entry
 */
export async function askToDisconnect({ connection, user, node }) {
  const name = user ?? 'an anonymous client';
  const answer = await ask(
    `Disconnect ${name}?`,
    `The connection ${connection} on ${node} is closed with 4503. Clients do not come back by themselves after that; a user who may connect can.`,
    [
      ...(user === null ? [] : [{ value: 'user', label: `All connections of ${name}`, dangerous: true }]),
      { value: 'connection', label: 'This connection', dangerous: true },
    ],
  );
  if (answer === '') return false;
  const path =
    answer === 'user' && user !== null
      ? `/api/users/${encodeURIComponent(user)}/disconnect`
      : `/api/connections/${encodeURIComponent(connection)}/disconnect`;
  try {
    const { disconnected, missing = [] } = await call(path, { method: 'POST' });
    const late = missing.length === 0 ? '' : ` No answer from ${missing.join(', ')}: ask again.`;
    tell(`${disconnected === 1 ? '1 connection was' : `${disconnected} connections were`} closed.${late}`);
    return disconnected > 0;
  } catch (error) {
    tell(String(/** @type {Error} */ (error).message));
    return false;
  }
}
