/**
 * The router: finds the routes of a path, and decodes its parameters. Pure functions.
 *
 * A table of a dozen paths needs no library. The path is taken as it was sent: `//api`, `/%61pi` and `/x/../api` are no
 * paths of the API. Only parameters are decoded, once, after the path was split: a room may have `%2F` in it.
 */
import type { Route } from './route.ts';

export interface Found {
  /** The path of the routes, with its parameters in braces. */
  path: string;
  byMethod: Map<string, Route>;
  /** Not decoded yet. */
  params: Record<string, string>;
}

interface Entry {
  segments: string[];
  path: string;
  byMethod: Map<string, Route>;
}

export class Router {
  readonly #entries: Entry[] = [];

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      const { path, method } = route;
      const entry = this.#entries.find((each) => each.path === path) ?? this.#add(path);
      entry.byMethod.set(method, route);
    }
  }

  /** `path`: as it was sent, without the query. */
  find(path: string): Found | undefined {
    const segments = path.split('/', mostSegments);
    for (const entry of this.#entries) {
      const params = match(entry.segments, segments);
      if (params !== undefined) return { path: entry.path, byMethod: entry.byMethod, params };
    }
    return undefined;
  }

  #add(path: string): Entry {
    const entry: Entry = { segments: path.split('/'), path, byMethod: new Map() };
    this.#entries.push(entry);
    return entry;
  }
}

/** More than any route has. */
const mostSegments = 10;

function match(template: readonly string[], segments: readonly string[]): Record<string, string> | undefined {
  if (template.length !== segments.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of template.entries()) {
    const segment = segments[index] ?? '';
    if (part.startsWith('{')) params[part.slice(1, -1)] = segment;
    else if (part !== segment) return undefined;
  }
  return params;
}

/** Decodes percent-encoded UTF-8. Undefined if it is broken. */
export function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
