/**
 * Turns a publish into the finished `message` frame of the native dialect, the form in which nodes exchange messages.
 *
 * The node that accepts the publish builds the frame once, from text; no node parses it again. Sender, id and time are
 * stamped only here, so no client can forge them.
 */
import { randomBytes } from 'node:crypto';
import type { HistoryRule, Publication } from '../../backplane/backplane.ts';

const dataField = ',"data":';

export interface Message {
  room: string;
  /** JSON text. */
  data: string;
  /** Makes the publish idempotent, per sender and room. */
  key: string | undefined;
}

/** One per process. */
export class MessageStamper {
  /**
   * Prefix of all message ids of this process: random, so that ids stay unique across restarts. 48 bits: among 1,000
   * nodes two collide with a probability of 2 in 10^9. It is short because every member receives it with every message.
   */
  readonly #run = randomBytes(6).toString('base64url');
  #count = 0;

  /**
   * `from` null is an anonymous sender. The caller has checked fields and rights. `history`: undefined in a plain room. `by`:
   * whose keys `key` is one of, as in Publication.
   */
  stamp(
    { room, data, key }: Message,
    from: string | null,
    history: HistoryRule | undefined,
    by: string | null = from ?? '',
  ): Publication {
    const at = Date.now();
    const id = history === undefined ? this.#nextId() : undefined;
    const sender = from === null ? '' : `,"from":${JSON.stringify(from)}`;
    const tail = key === undefined ? '}' : `,"key":${JSON.stringify(key)}}`;
    // Room names and ids need no escaping: their grammars allow neither quotes nor backslashes.
    const head = `{"type":"message","room":"${room}"`;
    return {
      room,
      id,
      prefix: id === undefined ? `${head},"offset":` : `${head},"id":"${id}"`,
      suffix: `${dataField}${data}${sender},"at":${at}${tail}`,
      dataStart: dataField.length,
      dataLength: data.length,
      at,
      history,
      ...(key === undefined ? {} : { dedupe: { by, key } }),
    };
  }

  #nextId(): string {
    this.#count += 1;
    return `${this.#run}${this.#count.toString(36)}`;
  }
}
