/**
 * Requests to the public port of a gateway (docs/http-fallback.md): where they go, with which token, and what a refusal says.
 *
 * Owns the token, which may be replaced. It repeats nothing.
 */
import type { ErrorCode } from '../../codes.ts';
import type { ErrorFrame, Position } from '../../protocol.ts';

export interface Call {
  method?: 'POST';
  since?: Position | undefined;
  /** In seconds. */
  wait?: number;
  /** JSON. */
  body?: string;
  signal: AbortSignal;
}

export class Api {
  token: string | undefined;
  /** Whether cookies go to a gateway of another origin. */
  credentials: 'include' | 'same-origin' = 'same-origin';
  readonly #base: URL;

  /** `url`: of the WebSocket, and its last segment is not that of HTTP. */
  constructor(url: string, token: string | undefined) {
    this.#base = new URL(url.replace(/^ws/, 'http'));
    this.token = token;
  }

  url(room: string, what: 'events' | 'messages', { since, wait }: Pick<Call, 'since' | 'wait'> = {}): string {
    const url = new URL(`rooms/${encodeURIComponent(room)}/${what}`, this.#base);
    // A query of the application's URL may hold its token (GATEWAY_AUTH_QUERY).
    url.search = this.#base.search;
    if (since !== undefined) url.searchParams.set('since', `${since.epoch}:${since.offset}`);
    if (wait !== undefined) url.searchParams.set('wait', `${wait}`);
    return url.href;
  }

  /** Rejects if no answer came. */
  fetch(room: string, what: 'events' | 'messages', call: Call): Promise<Response> {
    const { method = 'GET', body = null, signal } = call;
    const headers: Record<string, string> = {};
    if (this.token !== undefined) headers.authorization = `Bearer ${this.token}`;
    if (body !== null) headers['content-type'] = 'application/json';
    const { credentials } = this;
    return fetch(this.url(room, what, call), { method, headers, body, signal, credentials });
  }
}

const codes: ReadonlySet<string> = new Set<ErrorCode>([
  ...(['bad_request', 'unsupported', 'unauthorized', 'forbidden', 'too_large'] as const),
  ...(['rate_limited', 'limit_exceeded', 'unavailable', 'timeout', 'internal'] as const),
]);

export interface Refused extends ErrorFrame {
  /** The gateway itself has answered, and no proxy before it. */
  isOfGateway: boolean;
}

/** What an answer other than 200 says. */
export async function refusalOf(response: Response): Promise<Refused> {
  const text = await response.text().catch(() => '');
  const { type, detail } = problemIn(text);
  const code = String(type).split('/').at(-1) ?? '';
  const isOfGateway = codes.has(code);
  const seconds = Number(response.headers.get('retry-after'));
  return {
    type: 'error',
    code: isOfGateway ? (code as ErrorCode) : 'unavailable',
    message: isOfGateway ? String(detail) : `HTTP ${response.status}, and not from the gateway`,
    ...(seconds > 0 ? { retryAfterMs: seconds * 1000 } : {}),
    isOfGateway,
  };
}

function problemIn(text: string): { type?: unknown; detail?: unknown } {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    // A page of a proxy, for instance: no problem+json says nothing.
    return {};
  }
}
