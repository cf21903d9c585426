/**
 * Turns what is published into the finished `message` frame of the native dialect, in which every message travels.
 *
 * The frame is put together from text, once, on the node that accepts the publish; no node parses it again. Sender, id and
 * time are stamped here and nowhere else, so no client can forge them.
 */
import { randomBytes } from 'node:crypto';
import type { HistoryRule, Publication } from '../../backplane/backplane.ts';

const dataField = ',"data":';

export interface Message {
  room: string;
  /** JSON text. */
  data: string;
  /** Makes it idempotent, for one sender and room. */
  key: string | undefined;
}

/** One per node and run. */
export class MessageStamper {
  /**
   * Random for each run, so that ids stay unique even where a node keeps its name through a restart. 48 bits: among 1,000
   * nodes two are alike with a chance of 2 in 10^9, and every byte goes to every member.
   */
  readonly #run = randomBytes(6).toString('base64url');
  #count = 0;

  /** `from` null is an anonymous sender. The message is checked and allowed. `history`: how its room keeps it, if it does. */
  stamp({ room, data, key }: Message, from: string | null, history: HistoryRule | undefined): Publication {
    const at = Date.now();
    const sender = from === null ? '' : `,"from":${JSON.stringify(from)}`;
    const tail = key === undefined ? '}' : `,"key":${JSON.stringify(key)}}`;
    // A room name and an id need no escaping: their grammars hold neither quotes nor backslashes.
    const head = `{"type":"message","room":"${room}"`;
    return {
      room,
      prefix: history === undefined ? `${head},"id":"${this.#nextId()}"` : `${head},"offset":`,
      suffix: `${dataField}${data}${sender},"at":${at}${tail}`,
      dataStart: dataField.length,
      dataLength: data.length,
      at,
      history,
      ...(key === undefined ? {} : { dedupe: { by: from ?? '', key } }),
    };
  }

  #nextId(): string {
    this.#count += 1;
    return `${this.#run}${this.#count.toString(36)}`;
  }
}
