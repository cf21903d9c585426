/**
 * Elements of the page, made by calls. Children become nodes or text, never HTML: a room, a user or a message may hold
 * anything.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Makes an element. Properties are set as attributes; `on…` functions become listeners; false and undefined are left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [properties]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...nodesOf(children));
  return element;
}

/**
 * An element of the page by its id.
 * @template {HTMLElement} [Wanted=HTMLElement]
 * @param {string} id
 * @returns {Wanted}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return /** @type {Wanted} */ (found);
}

/** Sets a text only if it is another one: screen readers read what is set. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * A table that scrolls sideways where it is too wide.
 * @param {string} caption
 * @param {{ head: string, number?: boolean, wide?: boolean }[]} columns  `wide`: left out on narrow screens
 */
export function makeTable(caption, columns) {
  const body = make('tbody');
  const classOf = (/** @type {{ number?: boolean, wide?: boolean } | undefined} */ column) =>
    [column?.number && 'number', column?.wide && 'wide'].filter(Boolean).join(' ') || undefined;
  const heads = columns.map((column) => make('th', { scope: 'col', class: classOf(column) }, column.head));
  const table = make(
    'table',
    {},
    make('caption', { class: 'hidden' }, caption),
    make('thead', {}, make('tr', {}, heads)),
    body,
  );
  const element = make('div', { class: 'scrolls', tabindex: 0, role: 'region', 'aria-label': caption }, table);
  /** The first cell heads its row. @param {Child[]} cells @param {Record<string, unknown>} [properties] */
  const row = (cells, properties = {}) =>
    make(
      'tr',
      properties,
      cells.map((cell, index) =>
        make(
          index === 0 ? 'th' : 'td',
          { class: classOf(columns[index]), ...(index === 0 ? { scope: 'row' } : {}) },
          cell,
        ),
      ),
    );
  return {
    element,
    /** Replaces all rows. The focus stays on what has the same `data-key`. @param {HTMLTableRowElement[]} rows @param {string} [empty] */
    show(rows, empty = 'None.') {
      const focused = body.contains(document.activeElement) ? document.activeElement?.getAttribute('data-key') : null;
      if (rows.length > 0) body.replaceChildren(...rows);
      else body.replaceChildren(make('tr', { class: 'empty' }, make('td', { colspan: columns.length }, empty)));
      if (focused == null) return;
      const again = [...body.querySelectorAll('[data-key]')].find((each) => each.getAttribute('data-key') === focused);
      if (again instanceof HTMLElement) again.focus({ preventScroll: true });
    },
    /** @param {HTMLTableRowElement[]} rows */
    add: (rows) => body.append(...rows),
    row,
  };
}

/** @param {(Child | Child[])[]} children @returns {(Node | string)[]} */
function nodesOf(children) {
  return children.flat().flatMap((child) => {
    if (child === null || child === undefined || child === false) return [];
    return [child instanceof Node ? child : String(child)];
  });
}
