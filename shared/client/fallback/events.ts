/**
 * The events of a stream (https://html.spec.whatwg.org, section 9.2.6), out of text that comes in pieces.
 *
 * Owns the line that is not complete yet. It reads what a gateway writes: lines end with a line feed, and the position behind
 * an event stands in its data too, so ids are left out.
 */
export interface StreamEvent {
  name: string;
  data: string;
}

/** A frame is far smaller (GATEWAY_MAX_MESSAGE_BYTES is 16 MiB at the most). */
const maxCharacters = 2 ** 25;

export class EventReader {
  /** When to come back after the end of the stream, as the gateway last said. */
  retryMs: number | undefined;
  #rest = '';
  #name = '';
  #data: string[] = [];
  #characters = 0;

  /** Throws an Error for a stream that cannot be one of a gateway. */
  read(text: string): StreamEvent[] {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    const events = lines.flatMap((line) => this.#line(line));
    if (this.#rest.length + this.#characters > maxCharacters) throw new Error('an event of the stream has no end');
    return events;
  }

  #line(line: string): StreamEvent[] {
    if (line === '') return this.#end();
    const [, field, value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === 'event') this.#name = value;
    else if (field === 'retry') this.retryMs = Number(value) || undefined;
    else if (field === 'data') {
      this.#data.push(value);
      this.#characters += value.length;
    }
    return [];
  }

  #end(): StreamEvent[] {
    const event = { name: this.#name, data: this.#data.join('\n') };
    const isEmpty = this.#data.length === 0;
    this.#name = '';
    this.#data = [];
    this.#characters = 0;
    return isEmpty ? [] : [event];
  }
}
