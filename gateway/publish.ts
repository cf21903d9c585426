/**
 * The way out: a client's `publish` becomes the finished `message` frame that every member will get.
 *
 * The frame is put together from text, once, on the node that accepted it; no node parses it again. Sender, id and time
 * are stamped here and nowhere else, so a client cannot forge them.
 */
import { randomBytes } from 'node:crypto';
import type { Publication } from './backplane.ts';
import type { Frame } from './frame.ts';

/** Makes publications; one per node and run. */
export class Publisher {
  /** Random for each run, so that ids stay unique even where a node keeps its name through a restart. */
  readonly #run = randomBytes(8).toString('base64url');
  #count = 0;

  /** `user` null is an anonymous publisher. The frame is checked and allowed. */
  publication(frame: Extract<Frame, { type: 'publish' }>, user: string | null): Publication {
    const { room, data, key } = frame;
    const at = Date.now();
    this.#count += 1;
    const from = user === null ? '' : `,"from":${JSON.stringify(user)}`;
    // A room name and an id need no escaping: their grammars hold neither quotes nor backslashes.
    const head = `{"type":"message","room":"${room}","id":"${this.#run}${this.#count.toString(36)}"`;
    const tail = key === undefined ? '}' : `,"key":${JSON.stringify(key)}}`;
    return {
      room,
      frame: `${head},"data":${data}${from},"at":${at}${tail}`,
      at,
      ...(key === undefined ? {} : { dedupe: { by: user ?? '', key } }),
    };
  }
}
