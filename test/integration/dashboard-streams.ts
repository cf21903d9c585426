/** The two streams of the dashboard, as its page reads them. */
import type { View } from '../../gateway/dashboard/observer.ts';
import { EventStream, type StreamOptions } from '../support/event-stream.ts';
import { until } from '../support/until.ts';
import { apiKey } from './api.ts';

type Node = { adminPort: number };

/** A request of the admin port for a stream, with a good key unless `options` says otherwise. */
export function requestStream(node: Node, path: string, options: StreamOptions = {}): Promise<EventStream> {
  return EventStream.request({ port: node.adminPort }, '', {
    headers: { authorization: `Bearer ${apiKey}` },
    path,
    ...options,
  });
}

export class LiveStream {
  readonly stream: EventStream;

  private constructor(stream: EventStream) {
    this.stream = stream;
  }

  static async open(node: Node): Promise<LiveStream> {
    return new LiveStream(await requestStream(node, '/dashboard/live'));
  }

  get ticks(): View[] {
    return this.stream.events.flatMap(({ data, name }) => (name === 'tick' ? [data as unknown as View] : []));
  }

  /** The first tick that is so, of those that came since `from`. */
  until(what: string, isSo: (view: View) => boolean, deadlineMs = 10_000, from = 0): Promise<View> {
    const found = () => this.ticks.slice(from).find(isSo) as View;
    return until(found, deadlineMs, `${what}; the last tick: ${JSON.stringify(this.ticks.at(-1))}`);
  }
}

/** The names of the nodes of a tick. */
export function nodesOf(view: View): string[] {
  return view.nodes.map(({ node }) => node);
}
