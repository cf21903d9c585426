/**
 * The way out: a client's `publish` becomes the finished `message` frame that every member will get.
 *
 * The frame is put together from text, once, on the node that accepted it; no node parses it again. Sender, id and time
 * are stamped here and nowhere else, so a client cannot forge them.
 */
import { randomBytes } from 'node:crypto';
import type { HistoryRule, Publication } from '../backplane/backplane.ts';
import type { Frame } from './frame.ts';

const dataField = ',"data":';

/** Makes publications; one per node and run. */
export class Publisher {
  /**
   * Random for each run, so that ids stay unique even where a node keeps its name through a restart. 48 bits: among 1,000
   * nodes two are alike with a chance of 2 in 10^9, and every byte goes to every member.
   */
  readonly #run = randomBytes(6).toString('base64url');
  #count = 0;

  /** `user` null is an anonymous publisher. The frame is checked and allowed. */
  publication(
    frame: Extract<Frame, { type: 'publish' }>,
    user: string | null,
    history: HistoryRule | undefined,
  ): Publication {
    const { room, data, key } = frame;
    const at = Date.now();
    const from = user === null ? '' : `,"from":${JSON.stringify(user)}`;
    const tail = key === undefined ? '}' : `,"key":${JSON.stringify(key)}}`;
    // A room name and an id need no escaping: their grammars hold neither quotes nor backslashes.
    const head = `{"type":"message","room":"${room}"`;
    return {
      room,
      prefix: history === undefined ? `${head},"id":"${this.#nextId()}"` : `${head},"offset":`,
      suffix: `${dataField}${data}${from},"at":${at}${tail}`,
      dataStart: dataField.length,
      dataLength: data.length,
      at,
      history,
      ...(key === undefined ? {} : { dedupe: { by: user ?? '', key } }),
    };
  }

  #nextId(): string {
    this.#count += 1;
    return `${this.#run}${this.#count.toString(36)}`;
  }
}
