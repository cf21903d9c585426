/**
 * The HTTP API, for the operator's own backend: takes a request of the admin port through key, route, body and operation to
 * its answer. docs/http-api.md is its description.
 *
 * Owns the bound on requests under way. Every request gets exactly one answer, a JSON value or a problem, unless its client
 * went away. It knows neither sockets nor Redis; what a call does is in gateway/http/api/routes.ts.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import type { ApiKeys } from '../../auth/api-keys.ts';
import { Refusal } from '../../operations/refusal.ts';
import { type FieldError, problemContentType } from '../problem.ts';
import { Aborted, Bodies, discardRest, isHeldBack } from './body.ts';
import { Problem } from './problem.ts';
import type { Outcome, Route, RouteParts } from './route.ts';
import { decoded, type Found, Router } from './router.ts';
import { routes } from './routes.ts';

interface Parts extends RouteParts {
  keys: ApiKeys;
  /** Largest frame of a client. */
  maxMessageBytes: number;
}

interface Answer {
  status: number;
  contentType: string;
  text: string;
  headers: Record<string, string>;
}

/** A connection may have several requests under way (pipelining, RFC 9112 section 9.3.2). */
const maxUnderWay = 128;
/** A body besides its `data`. */
const maxBodyBytesBesidesData = 4_096;
/** Wrong fields named in one problem. */
const mostErrors = 20;
/** As long as an operation waits for Redis, and a little more. */
const closeTimeoutMs = 3_000;
const pollMs = 20;

export class Api {
  readonly #parts: Parts;
  readonly #router = new Router(routes);
  readonly #bodies = new Bodies();
  #underWay = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** True if the target of a request (RFC 9112 section 3.2) is for the API. */
  isFor(target: string): boolean {
    return /^\/api(\/|\?|$)/.test(target);
  }

  /** Answers a request. Never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    const began = performance.now();
    const { pathname, query } = targetOf(request.url ?? '');
    const found = this.#router.find(pathname);
    const done = (status: number | 'aborted') => {
      this.#underWay--;
      const seconds = (performance.now() - began) / 1000;
      this.#parts.events.requestAnswered(found?.path ?? 'other', status, seconds);
    };
    this.#underWay++;
    this.#answer(request, response, found, query)
      .catch((error: unknown) => this.#problem(error))
      .then((answer) => {
        if (answer !== undefined) send(request, response, answer);
        done(answer?.status ?? 'aborted');
      })
      .catch((error: unknown) => {
        this.#parts.faults.report('answering a request failed', error);
        response.destroy();
        done(500);
      });
  }

  /** Resolves when no request is under way, at the latest after some seconds. */
  async close(): Promise<void> {
    for (const until = performance.now() + closeTimeoutMs; performance.now() < until; ) {
      if (this.#underWay === 0) return;
      await delay(pollMs);
    }
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    found: Found | undefined,
    query: string,
  ): Promise<Answer> {
    const route = found?.byMethod.get(request.method === 'HEAD' ? 'GET' : (request.method ?? ''));
    if (!route?.open) this.#checkKey(request.headers);
    if (found === undefined) throw new Problem('not_found', 'There is no such call; GET /api/openapi.json lists all.');
    if (route === undefined) throw wrongMethod(found);
    if (this.#underWay > maxUnderWay) {
      throw new Problem('unavailable', 'Too many requests are under way on this node; send it again in a moment.');
    }
    const params = checked(route.params, paramsOf(found), 'path');
    const asked = checked(route.query, queryOf(query), 'query');
    const perform = (fields: Record<string, unknown>, data: string) =>
      route.perform({ params, query: asked, fields, data }, this.#parts);
    const outcome = await (route.body === undefined
      ? perform({}, '')
      : this.#performWithBody(request, response, route.body, perform));
    return { ...outcome, contentType: 'application/json', headers: {} };
  }

  #performWithBody(
    request: IncomingMessage,
    response: ServerResponse,
    { schema, maxBytes, optional }: NonNullable<Route['body']>,
    perform: (fields: Record<string, unknown>, data: string) => Promise<Outcome>,
  ): Promise<Outcome> {
    if (optional && !hasBody(request.headers)) return perform(checked(schema, {}, 'body'), '');
    const maxMessage = this.#parts.maxMessageBytes + maxBodyBytesBesidesData;
    return this.#bodies.read(request, response, maxBytes ?? maxMessage, async ({ fields, data = '' }) => {
      const valid = checked(schema, fields, 'body');
      if (Buffer.byteLength(data) > maxMessage) {
        throw new Problem('too_large', `data may have at most ${maxMessage} bytes; send less.`);
      }
      return perform(valid, data);
    });
  }

  #checkKey({ authorization = '', 'x-api-key': header }: IncomingHttpHeaders): void {
    const { keys } = this.#parts;
    const bearer = /^bearer +([^ ]+)$/i.exec(authorization)?.[1];
    if ([bearer, header].some((key) => typeof key === 'string' && keys.has(key))) return;
    throw new Problem('unauthorized', 'Send a key of GATEWAY_API_KEY: "authorization: Bearer …" or "x-api-key: …".', {
      headers: { 'www-authenticate': 'Bearer realm="roomcast"' },
    });
  }

  /** The answer that tells of the error; undefined if nobody is there to read it. */
  #problem(error: unknown): Answer | undefined {
    if (error instanceof Aborted) return undefined;
    const problem = this.#asProblem(error);
    const { status, text, headers } = problem;
    return { status, contentType: problemContentType, text, headers };
  }

  #asProblem(error: unknown): Problem {
    if (error instanceof Problem) return error;
    if (error instanceof Refusal) return new Problem(error.code, error.message);
    this.#parts.faults.report('a call of the HTTP API failed', error);
    return new Problem('internal', 'A fault of the gateway, which is in its log; it is unknown what was done.');
  }
}

/** RFC 9112 section 6.3. */
function hasBody({ 'content-length': length = '0', 'transfer-encoding': encoding }: IncomingHttpHeaders): boolean {
  return encoding !== undefined || Number(length) > 0;
}

function targetOf(target: string): { pathname: string; query: string } {
  const mark = target.indexOf('?');
  return mark === -1
    ? { pathname: target, query: '' }
    : { pathname: target.slice(0, mark), query: target.slice(mark + 1) };
}

function wrongMethod({ byMethod }: Found): Problem {
  const allow = [...byMethod.keys()].join(', ');
  return new Problem('unsupported', `This path takes ${allow}.`, { status: 405, headers: { allow } });
}

function paramsOf({ params }: Found): Record<string, string> {
  return Object.fromEntries(
    Object.entries(params).map(([name, encoded]) => {
      const value = decoded(encoded);
      if (value === undefined) throw badFields([{ path: name, message: 'must be percent-encoded UTF-8' }], 'path');
      return [name, value];
    }),
  );
}

function queryOf(query: string): Record<string, string> {
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

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const { status, contentType, text, headers } = answer;
  const heldBack = isHeldBack(request);
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    ...(heldBack ? { connection: 'close' } : {}),
    ...headers,
  });
  if (request.complete || heldBack) response.end(text);
  else {
    // Ended only later: the end may close the connection, and the kernel drops what is unread with a reset.
    response.write(text);
    discardRest(request, () => response.end());
  }
}
