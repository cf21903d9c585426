/**
 * The HTTP API, for the operator's own backend: takes a request of the admin port through key, route, body and operation to
 * its answer. docs/http-api.md is its description.
 *
 * Owns the bound on requests under way. Every request gets exactly one answer, a JSON value or a problem, unless its client
 * went away. It knows neither sockets nor Redis; what a call does is in gateway/http/api/routes.ts.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import type { ApiKeys } from '../../auth/api-keys.ts';
import { Refusal } from '../../operations/refusal.ts';
import { Aborted, Bodies, Exchange } from '../exchange.ts';
import type { Port, RoutedRequest } from '../library.ts';
import { type FieldError, Problem } from '../problem.ts';
import { type LibraryResponse, problemAnswer } from '../response.ts';
import { readBody } from './body.ts';
import type { Outcome, Route, RouteParts } from './route.ts';
import { routes } from './routes.ts';

/** Throws, or rejects with, a Problem, a Refusal or a fault. */
type Perform = (exchange: Exchange, request: RoutedRequest) => Promise<Outcome>;

interface Parts extends RouteParts {
  keys: ApiKeys;
  /** Largest frame of a client. */
  maxMessageBytes: number;
  /** The same in a form of another server: gateway/http/centrifugo/server-api.ts. */
  other: OtherForm | undefined;
}

export interface OtherForm {
  /** Of POST requests. */
  readonly methodPaths: readonly string[];
  /** True: a call to this path of a route is in the other form. */
  isBroadcast(path: string, fields: Record<string, unknown>): boolean;
  /** The text of an answer 200. Rejects with a Problem or a fault. */
  answerMethod(path: string, text: string, parts: RouteParts): Promise<string>;
}

/** A client that goes away leaves its request behind, and may come back with the next one. */
const maxUnderWay = 128;
/** Of a body in the other form, which may list many rooms. */
const maxOtherBytes = 1_048_576;
/** A body besides its `data`. */
const maxBodyBytesBesidesData = 4_096;
/** Wrong fields named in one problem. */
const mostErrors = 20;
/** As long as an operation waits for Redis, and a little more. */
const closeTimeoutMs = 3_000;
const pollMs = 20;

const statusLines = { 200: '200 OK', 202: '202 Accepted' };
const answerHeaders = { 'content-type': 'application/json' };

export class Api {
  readonly #parts: Parts;
  readonly #bodies = new Bodies();
  #underWay = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  addTo(port: Pick<Port, 'on'>): void {
    const take = (path: string, perform: Perform) => {
      return (res: LibraryResponse, request: RoutedRequest) => void this.#take(res, request, path, perform);
    };
    for (const route of routes) {
      const { method, path } = route;
      const call = take(path, (exchange, request) => this.#call(route, exchange, request));
      port.on(method, path, call);
      if (method === 'GET') port.on('HEAD', path, call);
    }
    for (const path of this.#parts.other?.methodPaths ?? []) {
      port.on(
        'POST',
        path,
        take(path, (exchange) => this.#callOther(path, exchange)),
      );
    }
    for (const path of new Set(routes.map((route) => route.path))) {
      port.on(
        'any',
        path,
        take(path, (exchange) => this.#refuse(exchange, wrongMethod(path))),
      );
    }
    const noCall = new Problem('not_found', 'There is no such call; GET /api/openapi.json lists all.');
    for (const path of ['/api', '/api/*']) {
      port.on(
        'any',
        path,
        take('other', (exchange) => this.#refuse(exchange, noCall)),
      );
    }
  }

  /** Resolves when no request is under way, at the latest after some seconds. */
  async close(): Promise<void> {
    for (const until = performance.now() + closeTimeoutMs; performance.now() < until; ) {
      if (this.#underWay === 0) return;
      await delay(pollMs);
    }
  }

  /** Answers a request to a path. Never rejects. */
  async #take(res: LibraryResponse, request: RoutedRequest, path: string, perform: Perform): Promise<void> {
    const began = performance.now();
    const exchange = new Exchange(res, request);
    let status: number | 'aborted';
    this.#underWay++;
    try {
      const outcome = await perform(exchange, request);
      exchange.answer({ status: statusLines[outcome.status], headers: answerHeaders, body: outcome.text });
      status = outcome.status;
    } catch (error) {
      status = this.#answerProblem(exchange, error);
    }
    this.#underWay--;
    this.#parts.events.requestAnswered(path, status, (performance.now() - began) / 1000);
  }

  #call(route: Route, exchange: Exchange, { parameters, query }: RoutedRequest): Promise<Outcome> {
    if (!route.open) this.#checkKey(exchange);
    this.#checkPlace(exchange);
    const params = checked(route.params, paramsOf(route.parameters, parameters), 'path');
    const asked = checked(route.query, queryOf(query), 'query');
    const perform = (fields: Record<string, unknown>, data: string) =>
      route.perform({ params, query: asked, fields, data }, this.#parts);
    if (route.body === undefined) return perform({}, '');
    const { schema, maxBytes, optional } = route.body;
    if (optional && !exchange.hasBody) return perform(checked(schema, {}, 'body'), '');
    const maxMessage = this.#parts.maxMessageBytes + maxBodyBytesBesidesData;
    return this.#bodies.read(exchange, maxBytes ?? maxMessage, (text) => {
      const { fields, data = '' } = readBody(text);
      if (this.#parts.other?.isBroadcast(route.path, fields) === true) return this.#answerOther(route.path, text);
      const valid = checked(schema, fields, 'body');
      if (Buffer.byteLength(data) > maxMessage) {
        throw new Problem('too_large', `data may have at most ${maxMessage} bytes; send less.`);
      }
      return perform(valid, data);
    });
  }

  #callOther(path: string, exchange: Exchange): Promise<Outcome> {
    this.#checkKey(exchange);
    this.#checkPlace(exchange);
    return this.#bodies.read(exchange, maxOtherBytes, (text) => this.#answerOther(path, text));
  }

  async #answerOther(path: string, text: string): Promise<Outcome> {
    const { other } = this.#parts;
    return { status: 200, text: (await other?.answerMethod(path, text, this.#parts)) ?? '' };
  }

  #checkPlace(exchange: Exchange): void {
    checkFraming(exchange);
    if (this.#underWay > maxUnderWay) {
      throw new Problem('unavailable', 'Too many requests are under way on this node; send it again in a moment.');
    }
  }

  /** Whoever has no key learns nothing else. */
  #refuse(exchange: Exchange, problem: Problem): never {
    this.#checkKey(exchange);
    throw problem;
  }

  #checkKey({ headers }: Exchange): void {
    if (this.#parts.keys.admits(headers)) return;
    throw new Problem('unauthorized', 'Send a key of GATEWAY_API_KEY: "authorization: Bearer …" or "x-api-key: …".', {
      headers: { 'www-authenticate': 'Bearer realm="roomcast"' },
    });
  }

  /** Returns the status of the answer. */
  #answerProblem(exchange: Exchange, error: unknown): number | 'aborted' {
    if (error instanceof Aborted) return 'aborted';
    const problem = this.#asProblem(error);
    exchange.answer(problemAnswer(problem, {}));
    return problem.status;
  }

  #asProblem(error: unknown): Problem {
    if (error instanceof Problem) return error;
    if (error instanceof Refusal) return new Problem(error.code, error.message);
    this.#parts.faults.report('a call of the HTTP API failed', error);
    return new Problem('internal', 'A fault of the gateway, which is in its log; it is unknown what was done.');
  }
}

/** Two readers of such a request may read it differently (RFC 9112 sections 3.2 and 6.3); the library takes it. */
function checkFraming({ headers }: Exchange): void {
  const isTwice = (name: string) => (headers.get(name)?.length ?? 0) > 1;
  const coding = headers.get('transfer-encoding')?.[0]?.toLowerCase() ?? 'chunked';
  if (isTwice('host') || isTwice('content-length') || isTwice('transfer-encoding') || coding !== 'chunked') {
    throw new Problem('bad_request', 'Send one Host, and one Content-Length or "transfer-encoding: chunked".');
  }
}

function wrongMethod(path: string): Problem {
  const allow = routes.flatMap((route) => (route.path === path ? [route.method] : [])).join(', ');
  return new Problem('unsupported', `This path takes ${allow}.`, { status: 405, headers: { allow } });
}

/** The path was split before they are decoded, once: a room may have `%2F` in it. `names`: of the parameters, in order. */
function paramsOf(names: readonly string[], parameters: string[]): Record<string, string> {
  const params: Record<string, string> = {};
  names.forEach((name, index) => {
    const value = decoded(parameters[index] ?? '');
    if (value === undefined) throw badFields([{ path: name, message: 'must be percent-encoded UTF-8' }], 'path');
    params[name] = value;
  });
  return params;
}

/** Decodes percent-encoded UTF-8. Undefined if it is broken. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function queryOf(query: string): Record<string, string> {
  if (query === '') return {};
  // URLSearchParams takes broken encodings, too.
  if (decoded(query) === undefined) throw new Problem('bad_request', 'The query must be percent-encoded UTF-8.');
  const values = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    if (values.has(name)) throw badFields([{ path: name, message: 'is there twice; send it once' }], 'query');
    values.set(name, value);
  }
  return Object.fromEntries(values);
}

/** Checks a part of a request. Throws a Problem that names its mistakes. */
function checked(schema: z.ZodObject, value: unknown, part: Part): Record<string, unknown> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const errors = result.error.issues.flatMap((issue): FieldError[] => {
    if (issue.code !== 'unrecognized_keys') return [{ path: issue.path.join('.'), message: issue.message }];
    return issue.keys.map((path) => ({ path, message: 'is not known here; leave it out' }));
  });
  throw badFields(errors, part);
}

type Part = 'path' | 'query' | 'body';

/** One problem for all of them; of a field, its first mistake counts. */
function badFields(mistakes: FieldError[], part: Part): Problem {
  const byPath = new Map(mistakes.toReversed().map((each) => [each.path, each]));
  const all = [...byPath.values()].toReversed();
  const errors = all.slice(0, mostErrors).map(({ path, message }) => ({ path: shortened(path), message }));
  const [first] = errors;
  const detail = first === undefined ? '' : `: ${first.path} ${first.message}`;
  const more = all.length > 1 ? ` (and ${all.length - 1} more)` : '';
  return new Problem('bad_request', `The ${part} of the request is wrong${detail}${more}.`, { errors });
}

/** A name that the client made up may be long. */
function shortened(path: string): string {
  return path.length <= 100 ? path : `${path.slice(0, 100)}…`;
}
