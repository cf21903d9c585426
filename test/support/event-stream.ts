/**
 * A client of event streams over node:http: it parses as the HTML standard says (section 9.2.6), and never reconnects by
 * itself.
 *
 * Owns the request and the events that came. It can stop reading.
 */
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { onCleanup } from './cleanup.ts';
import { until } from './until.ts';

export interface StreamEvent {
  name: string;
  data: Record<string, unknown>;
  /** The last event id as of this event. */
  id: string;
}

export interface StreamOptions {
  token?: string | undefined;
  since?: string | undefined;
  lastEventId?: string | undefined;
  headers?: Record<string, string>;
  /** Instead of /rooms/{room}/events. */
  path?: string;
  method?: string;
  /** Certificate authority, PEM, for a node with TLS. */
  ca?: string;
  /** Takes the messages; they are not in `events` then. */
  onMessage?: (message: Record<string, unknown>) => void;
}

const deadlineMs = 5_000;

export class EventStream {
  readonly events: StreamEvent[] = [];
  readonly comments: string[] = [];
  retryMs: number | undefined;
  /** The id of the last whole event, for Last-Event-ID. */
  lastEventId = '';
  /** The body of an answer that is no stream. */
  text = '';
  ended = false;
  /** The response ended as HTTP says, not by a cut. */
  complete = false;
  readonly response: IncomingMessage;
  readonly #request: ClientRequest;
  readonly #onMessage: StreamOptions['onMessage'];
  #rest = '';
  #name = '';
  #id = '';
  #data: string[] = [];
  #readUpTo = 0;

  private constructor(request: ClientRequest, response: IncomingMessage, onMessage: StreamOptions['onMessage']) {
    this.#request = request;
    this.#onMessage = onMessage;
    this.response = response;
    response.setEncoding('utf8');
    response.on('data', (text: string) => {
      if (response.statusCode === 200) this.#take(text);
      else this.text += text;
    });
    response.on('end', () => {
      this.complete = response.complete;
    });
    response.on('close', () => {
      this.ended = true;
    });
    // A cut shows as `ended` without `complete`.
    response.on('error', () => undefined);
  }

  /** Resolves with the answer, whatever it is. */
  static request(node: { port: number }, room: string, options: StreamOptions = {}): Promise<EventStream> {
    const { token, since, lastEventId, path = `/rooms/${encodeURIComponent(room)}/events`, method = 'GET' } = options;
    const query = since === undefined ? '' : `?since=${encodeURIComponent(since)}`;
    return new Promise((resolve, reject) => {
      const request = (options.ca === undefined ? httpRequest : httpsRequest)({
        ca: options.ca,
        host: '127.0.0.1',
        port: node.port,
        path: `${path}${query}`,
        method,
        agent: false,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
          ...options.headers,
        },
      });
      onCleanup(() => void request.destroy());
      request.on('error', reject);
      request.on('response', (response) => resolve(new EventStream(request, response, options.onMessage)));
      request.end();
    });
  }

  /** Resolves when the stream has begun. */
  static async open(node: { port: number }, room: string, options: StreamOptions = {}): Promise<EventStream> {
    const stream = await EventStream.request(node, room, options);
    if (stream.response.statusCode !== 200) {
      await until(() => stream.ended, deadlineMs, 'the answer ends');
      throw new Error(`the stream was answered by ${stream.response.statusCode}: ${stream.text}`);
    }
    await stream.next('ok');
    return stream;
  }

  /** The next unread event of a name; events before it count as read. */
  next(name: string, milliseconds = deadlineMs): Promise<StreamEvent> {
    return until(
      () => {
        const at = this.events.findIndex((event, index) => index >= this.#readUpTo && event.name === name);
        if (at >= 0) this.#readUpTo = at + 1;
        return this.events[at] as StreamEvent;
      },
      milliseconds,
      `the event ${name}; there are ${JSON.stringify(this.events.slice(-5))}, ended: ${this.ended}`,
    );
  }

  /** The data of the messages so far. */
  get heard(): unknown[] {
    return this.events.flatMap(({ name, data }) => (name === 'message' ? [data.data] : []));
  }

  untilEnded(milliseconds = deadlineMs): Promise<boolean> {
    return until(() => this.ended, milliseconds, 'the stream ends');
  }

  pause(): void {
    this.response.socket.pause();
  }

  resume(): void {
    this.response.socket.resume();
  }

  abort(): void {
    this.#request.destroy();
  }

  #take(text: string): void {
    this.#rest += text;
    const lines = this.#rest.split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    if (line === '') {
      this.lastEventId = this.#id;
      if (this.#data.length > 0) {
        const data = JSON.parse(this.#data.join('\n')) as Record<string, unknown>;
        const name = this.#name || 'message';
        if (name === 'message' && this.#onMessage !== undefined) this.#onMessage(data);
        else this.events.push({ name, data, id: this.lastEventId });
      }
      this.#data = [];
      this.#name = '';
      return;
    }
    const [, field = '', value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === '') this.comments.push(value);
    else if (field === 'event') this.#name = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id') this.#id = value;
    else if (field === 'retry') this.retryMs = Number(value);
    else throw new Error(`a line of an unknown field: ${line}`);
  }
}
