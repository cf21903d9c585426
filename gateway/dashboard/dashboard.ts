/**
 * The dashboard on the admin port: the page at `/`, and the two streams of events that only it reads.
 *
 *   GET /                               the page; GET /dashboard/…: its files. Without a key: they show only a form
 *   GET /dashboard/live                 the cluster, once a second
 *   GET /dashboard/rooms/{room}/tail    the messages of a room, from now on
 *
 * The streams need a key of the HTTP API, in a header: EventSource cannot send one, so the page reads them with `fetch`. They
 * are no part of the HTTP API: they follow the page of the same version, and may change with every one. What the page does
 * besides, it does by calls of the API. Owns the bound on open streams.
 */

import { isRoomName, roomNameRule } from '../../shared/room.ts';
import type { ApiKeys } from '../auth/api-keys.ts';
import type { Routes } from '../http/admin.ts';
import { Exchange } from '../http/exchange.ts';
import type { Port, RoutedRequest } from '../http/library.ts';
import { Problem } from '../http/problem.ts';
import { type LibraryResponse, problemAnswer, textAnswer } from '../http/response.ts';
import type { Access } from '../rooms/access.ts';
import { readAssets } from './assets.ts';
import { EventResponse } from './event-response.ts';
import { Observer, type ObserverParts } from './observer.ts';
import { Tail, type WatchedRooms } from './tail.ts';

/** Of 128 connections that the port takes. */
const mostStreams = 32;

export interface DashboardParts extends ObserverParts {
  keys: ApiKeys;
  hub: WatchedRooms;
  access: Pick<Access, 'offers'>;
}

export class Dashboard implements Routes {
  readonly #parts: DashboardParts;
  readonly #observer: Observer;
  readonly #streams = new Set<EventResponse>();

  constructor(parts: DashboardParts) {
    this.#parts = parts;
    this.#observer = new Observer(parts);
  }

  addTo(port: Pick<Port, 'on'>): void {
    const get = (path: string, take: (res: LibraryResponse, request: RoutedRequest) => void) => {
      port.on('GET', path, take);
      const refusal = textAnswer('405 Method Not Allowed', 'This path takes GET.', { allow: 'GET, HEAD' });
      port.on('any', path, (res, request) => new Exchange(res, request).answer(refusal));
    };
    for (const [path, asset] of readAssets()) {
      get(path, (res, request) => new Exchange(res, request).answer(asset));
      port.on('HEAD', path, (res, request) => new Exchange(res, request).answer(asset));
    }
    get('/dashboard/live', (res, request) => this.#open(res, request, () => this.#live(res)));
    get('/dashboard/rooms/{room}/tail', (res, request) => {
      this.#open(res, request, () => this.#tail(res, roomOf(request)));
    });
  }

  async close(): Promise<void> {
    this.#observer.close();
    for (const stream of [...this.#streams]) stream.end();
  }

  /** `begin` throws a Problem before it touches the response. */
  #open(res: LibraryResponse, request: RoutedRequest, begin: () => void): void {
    try {
      this.#check(request);
      begin();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      new Exchange(res, request).answer(problemAnswer(error, {}));
    }
  }

  #check({ headers }: RoutedRequest): void {
    if (!this.#parts.keys.admits(headers)) {
      throw new Problem('unauthorized', 'Send a key of GATEWAY_API_KEY: "authorization: Bearer …" or "x-api-key: …".');
    }
    if (headers.has('transfer-encoding') || Number(headers.get('content-length')?.[0] ?? 0) > 0) {
      throw new Problem('bad_request', 'Send no body.');
    }
    if (this.#streams.size >= mostStreams) {
      throw new Problem(
        'unavailable',
        `This node shows ${mostStreams} streams at a time; close a page, or ask another.`,
      );
    }
  }

  #live(res: LibraryResponse): void {
    const stream: EventResponse = new EventResponse(res, () => {
      this.#streams.delete(stream);
      this.#observer.unwatch(stream);
    });
    this.#streams.add(stream);
    this.#observer.watch(stream);
  }

  #tail(res: LibraryResponse, room: string): void {
    const stream: EventResponse = new EventResponse(res, () => {
      this.#streams.delete(stream);
      tail.close();
    });
    this.#streams.add(stream);
    const { access, hub } = this.#parts;
    const tail = new Tail(room, access.offers('history', room), hub, stream);
  }
}

function roomOf({ parameters: [text = ''] }: RoutedRequest): string {
  let room: string;
  try {
    room = decodeURIComponent(text);
  } catch {
    throw new Problem('bad_request', 'Encode the room in the path as percent-encoded UTF-8.');
  }
  if (!isRoomName(room)) throw new Problem('bad_request', `A room has ${roomNameRule}.`);
  return room;
}
