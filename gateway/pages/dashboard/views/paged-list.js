/**
 * A list of the API that is shown page by page: a form that asks, a table that shows, a button for more. An answer that comes
 * after the next question is dropped.
 */
import { make, setText } from '../elements.js';
import { list } from '../format.js';
import { call } from '../session.js';

/**
 * @template Entry
 * @param {object} parts
 * @param {HTMLFormElement} parts.form  its fields with a name and a value become the query
 * @param {{ element: HTMLElement, show: (entries: Entry[], empty: string) => void, add: (entries: Entry[]) => void }} parts.table
 * @param {string} parts.path
 * @param {string} parts.name  of the list in the answer
 * @param {(entry: Entry) => string} parts.placeOf  for `after`
 * @param {string} parts.empty
 */
export function pagedList({ form, table, path, name, placeOf, empty }) {
  const note = make('p', { class: 'note', role: 'status' });
  const more = make('button', { type: 'button', hidden: true, onclick: () => void load(true) }, 'Show more');
  let shown = 0;
  let after = '';
  let asked = 0;

  /** @param {boolean} goesOn */
  const load = async (goesOn) => {
    const number = ++asked;
    const query = new URLSearchParams({ limit: '100' });
    for (const [field, value] of new FormData(form)) if (value !== '') query.set(field, String(value));
    if (goesOn) query.set('after', after);
    try {
      const answer = await call(`${path}?${query}`);
      if (number !== asked) return;
      /** @type {Entry[]} */
      const entries = answer[name];
      if (goesOn) table.add(entries);
      else table.show(entries, empty);
      shown = entries.length + (goesOn ? shown : 0);
      const last = entries.at(-1);
      if (last !== undefined) after = placeOf(last);
      more.hidden = answer.more !== true;
      const missing =
        answer.missing === undefined ? '' : ` No answer from ${list(answer.missing)}: theirs are not among them.`;
      setText(note, `${shown}${answer.more ? ' of more' : ''} shown.${missing}`);
    } catch (error) {
      if (number === asked) setText(note, String(/** @type {Error} */ (error).message));
    }
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void load(false);
  });
  return { element: make('div', {}, note, table.element, make('p', { class: 'more' }, more)), load: () => load(false) };
}
