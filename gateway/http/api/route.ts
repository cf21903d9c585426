/**
 * What a route of the HTTP API is: its method and path, the schemas of what comes in and goes out, and what it does. The
 * table of them is gateway/http/api/routes.ts.
 */
import type { z } from 'zod';
import type { HistoryParts } from '../../operations/history.ts';
import type { PresenceParts } from '../../operations/presence.ts';
import type { PublishParts } from '../../operations/publish.ts';

export interface RouteParts extends PublishParts, HistoryParts, PresenceParts {
  version: string;
}

type Schema = z.ZodObject;

/** A call, with its request checked by the schemas of the route. */
interface Call<Params extends Schema, Query extends Schema, Fields extends Schema> {
  params: z.output<Params>;
  query: z.output<Query>;
  fields: z.output<Fields>;
  /** The text of `data`. '' for a route without a body. */
  data: string;
}

interface Definition<Params extends Schema, Query extends Schema, Fields extends Schema> {
  method: 'GET' | 'POST';
  /** Path parameters stand in braces, as in OpenAPI. */
  path: string;
  /** Unique. */
  name: string;
  summary: string;
  /** True: needs no key. */
  open?: boolean;
  params: Params;
  query: Query;
  /** `maxBytes`: undefined for the length of a message. A body has `data`. */
  body?: { schema: Fields; maxBytes?: number };
  answer: z.ZodType;
  /** Codes of problems that only this route has. */
  statuses?: readonly number[];
  /** Resolves with the JSON text of the answer. Rejects with a Refusal. */
  perform(call: Call<Params, Query, Fields>, parts: RouteParts): Promise<string>;
}

export type Route = Definition<Schema, Schema, Schema>;

/** The schemas check what `perform` gets, so their types can be forgotten. */
export function route<Params extends Schema, Query extends Schema, Fields extends Schema>(
  definition: Definition<Params, Query, Fields>,
): Route {
  return definition as unknown as Route;
}

/** The statuses of a route, also for the metrics. */
export function statusesOf({ body, open, statuses = [] }: Route): number[] {
  if (open) return [200, 400];
  return [200, 400, 401, ...statuses, ...(body === undefined ? [] : [408, 413, 415]), 500, 503, 504];
}
