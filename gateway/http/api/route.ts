/**
 * What a route of the HTTP API is: its method and path, the schemas of what comes in and goes out, and what it does. The
 * table of them is gateway/http/api/routes.ts.
 */
import type { z } from 'zod';
import type { ClusterParts } from '../../operations/cluster/ask.ts';
import type { HistoryParts } from '../../operations/history.ts';
import type { PresenceParts } from '../../operations/presence.ts';
import type { PublishParts } from '../../operations/publish.ts';

export interface RouteParts extends PublishParts, HistoryParts, PresenceParts, ClusterParts {
  version: string;
  /** Of `data`, as text. */
  maxMessageBytes: number;
}

/** What a call came to. */
export interface Outcome {
  /** 202: nodes that the answer names as `missing` have not confirmed in time. */
  status: 200 | 202;
  /** The JSON of the answer. */
  text: string;
}

type Schema = z.ZodObject;

/** A call, with its request checked by the schemas of the route. */
interface Call<Params extends Schema, Query extends Schema, Fields extends Schema> {
  params: z.output<Params>;
  query: z.output<Query>;
  fields: z.output<Fields>;
  /** The text of `data`. '' for a body without it. */
  data: string;
}

interface Definition<Params extends Schema, Query extends Schema, Fields extends Schema> {
  method: 'GET' | 'POST' | 'DELETE';
  /** Path parameters stand in braces, as in OpenAPI. */
  path: string;
  /** Unique. */
  name: string;
  summary: string;
  /** True: needs no key. */
  open?: boolean;
  params: Params;
  query: Query;
  /** `maxBytes`: undefined for the length of a message. `optional`: no body is the same as `{}`. */
  body?: { schema: Fields; maxBytes?: number; optional?: true };
  answer: z.ZodType;
  /** Codes of problems that only this route has. */
  statuses?: readonly number[];
  /** All nodes have to confirm it: it may be 202. */
  cluster?: true;
  /** Rejects with a Refusal. */
  perform(call: Call<Params, Query, Fields>, parts: RouteParts): Promise<Outcome>;
}

export interface Route extends Definition<Schema, Schema, Schema> {
  /** Names of the path parameters, in order. */
  parameters: readonly string[];
}

/** The schemas check what `perform` gets, so their types can be forgotten. */
export function route<Params extends Schema, Query extends Schema, Fields extends Schema>(
  definition: Definition<Params, Query, Fields>,
): Route {
  const parameters = Object.keys(definition.params.shape);
  return { ...definition, parameters } as unknown as Route;
}

/** The outcome of a call with this answer; of one with `missing`, if a node is. */
export function done(answer: object): Outcome {
  return { status: 'missing' in answer ? 202 : 200, text: JSON.stringify(answer) };
}

/** The statuses of a route, also for the metrics. */
export function statusesOf({ body, cluster, open, statuses = [] }: Route): number[] {
  if (open) return [200, 400];
  const ofBody = body === undefined ? [] : [408, 413, 415];
  return [200, ...(cluster ? [202] : []), 400, 401, ...statuses, ...ofBody, 500, 503, 504];
}
