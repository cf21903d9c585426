/** Long lists are looked through in slices, so that messages and clients do not wait. */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** What a node looks at in one turn of the event loop: about a millisecond. */
const slice = 2_000;

/** Calls `visit` for each item, until it returns false. The list may change between two turns. */
export async function eachInSlices<Item>(items: Iterable<Item>, visit: (item: Item) => boolean): Promise<void> {
  let passed = 0;
  for (const item of items) {
    if (!visit(item)) return;
    if (++passed % slice === 0) await nextTurn();
  }
}
