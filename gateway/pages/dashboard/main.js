/**
 * The page: asks for the key, opens the feed, and shows the view that the fragment of the address names.
 *
 * Fragments: `#/`, `#/connections`, `#/rooms`, `#/rooms/<name>`. They are never sent to a server, and never hold the key.
 */

import { byId, setText } from './elements.js';
import { Feed } from './feed.js';
import { duration, list } from './format.js';
import { RequestError, signIn, signOut } from './session.js';
import { clusterView } from './views/cluster.js';
import { connectionsView } from './views/connections.js';
import { roomView } from './views/room.js';
import { roomsView } from './views/rooms.js';

/** @import { View } from '../../dashboard/observer.ts' */

/** Without a tick for so long the page says that it is not up to date. */
const staleMs = 5_000;

/** `show`: after each tick. @typedef {{ element: HTMLElement, title: string, show?: ((view: View | undefined) => void) | undefined, close?: (() => void) | undefined }} Shown */

/** @type {Feed | undefined} */
let feed;
/** @type {Shown | undefined} */
let shown;

byId('login').addEventListener('submit', (event) => {
  event.preventDefault();
  void enter();
});
byId('sign-out').addEventListener('click', () => leave(''));
window.addEventListener('hashchange', route);
setInterval(showHealth, 1_000);
leave('');

async function enter() {
  const input = /** @type {HTMLInputElement} */ (byId('key'));
  const key = input.value.trim();
  setText(byId('key-error'), '');
  if (!/^[\x21-\x7e]+$/.test(key)) {
    setText(byId('key-error'), 'A key has only letters, digits and signs of ASCII.');
    return;
  }
  signIn(key, () => leave('The node does not take this key.'));
  const opening = new Feed(() => {
    if (feed !== opening) return;
    shown?.show?.(opening.view);
    showHealth();
  });
  try {
    await opening.open();
  } catch (error) {
    opening.close();
    signOut();
    if (!(error instanceof RequestError && error.status === 401)) {
      setText(byId('key-error'), error instanceof RequestError ? error.message : 'The node does not answer.');
    }
    return;
  }
  input.value = '';
  feed = opening;
  for (const id of ['bar', 'view', 'health']) byId(id).hidden = false;
  byId('login').hidden = true;
  route();
  byId('content').focus();
}

/** Forgets the key, and asks for one. @param {string} why */
function leave(why) {
  signOut();
  feed?.close();
  feed = undefined;
  shown?.close?.();
  shown = undefined;
  byId('view').replaceChildren();
  for (const id of ['bar', 'view', 'health']) byId(id).hidden = true;
  byId('login').hidden = false;
  setText(byId('key-error'), why);
  document.title = 'Roomcast';
  byId('key').focus();
}

function route() {
  if (feed === undefined) return;
  shown?.close?.();
  shown = viewOf(feed, location.hash);
  byId('view').replaceChildren(shown.element);
  shown.show?.(feed.view);
  document.title = `${shown.title} · Roomcast`;
  const section = location.hash.split(/[/?]/)[1] ?? '';
  for (const link of document.querySelectorAll('nav a')) {
    const isHere = (link.getAttribute('href') ?? '').split('/')[1] === section;
    if (isHere) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  window.scrollTo(0, 0);
}

/** @param {Feed} from @param {string} hash @returns {Shown} */
function viewOf(from, hash) {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?');
  const [section, name] = path.split('/');
  if (section === 'connections') return connectionsView(from, new URLSearchParams(query));
  if (section === 'rooms') return name ? roomView(decoded(name)) : roomsView();
  return clusterView(from);
}

/** An address that somebody typed may be broken. @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** One sentence: how the cluster is. Screen readers hear it when it changes. */
function showHealth() {
  if (feed === undefined) return;
  const { state, text } = healthOf(feed);
  const element = byId('health');
  element.dataset.state = state;
  setText(element, text);
  setText(byId('source'), feed.view === undefined ? '' : `from ${feed.view.node}`);
}

/** @param {Feed} from @returns {{ state: 'waiting' | 'well' | 'warning' | 'bad', text: string }} */
function healthOf({ nodes, toldAt, view }) {
  const oldMs = performance.now() - toldAt;
  if (view === undefined) return { state: 'waiting', text: 'Waiting for the first numbers.' };
  if (oldMs > staleMs) {
    return {
      state: 'bad',
      text: `${view.node} does not answer. What you see is ${duration(oldMs)} old; trying again.`,
    };
  }
  if (view.trouble !== null) {
    return { state: 'bad', text: `The other nodes cannot be asked, so this shows ${view.node} alone: ${view.trouble}` };
  }
  const named = (/** @type {string} */ is) =>
    [...nodes.values()].filter((node) => node.is === is).map(({ name }) => name);
  const [missing, troubled, gone, draining] = [view.missing, named('troubled'), named('gone'), named('draining')];
  if (missing.length > 0) return { state: 'bad', text: `No answer from ${list(missing)}.` };
  if (troubled.length > 0) return { state: 'bad', text: `In trouble: ${list(troubled)}.` };
  if (gone.length > 0) return { state: 'warning', text: `Gone without a farewell: ${list(gone)}.` };
  if (draining.length > 0) return { state: 'warning', text: `Draining: ${list(draining)}.` };
  const well = view.nodes.length === 1 ? 'The node is well.' : `All ${view.nodes.length} nodes are well.`;
  return { state: 'well', text: well };
}
