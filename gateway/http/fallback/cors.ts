/**
 * Cross-origin requests (https://fetch.spec.whatwg.org, CORS): which pages may read an answer. GATEWAY_ALLOWED_ORIGINS
 * decides, as for WebSockets; the Origin itself is checked in gateway/http/handshake.ts.
 */
import type { Events } from '../../telemetry/events.ts';
import { Exchange } from '../exchange.ts';
import { checkOrigin, type HandshakeRefusal, type HandshakeRequest, type HandshakeSettings } from '../handshake.ts';
import { type Answer, type Headers, type LibraryResponse, problemAnswer } from '../response.ts';
import { problem } from './problem.ts';

/** How long a browser may remember a preflight. Browsers cut it to 2 h. */
const maxAgeSeconds = 7200;

/**
 * Checks who asks, and by which method. Returns the headers of the answer, or undefined if it was answered. Another origin than
 * those allowed is refused whatever it asks for, and OPTIONS is answered.
 */
export function admitPage(
  res: LibraryResponse,
  request: HandshakeRequest,
  { config, events }: { config: HandshakeSettings; events: Events },
  methods: readonly string[],
): Headers | undefined {
  const refusal = checkOrigin(request, config.allowedOrigins) ?? checkFetchSite(request);
  const refuse = (made: Answer) => new Exchange(res, request).answer(made);
  if (refusal !== undefined) {
    events.handshakeRejected(refusal.reason);
    refuse(problemAnswer(problem({ code: 'forbidden', message: refusal.message }), {}));
    return undefined;
  }
  const headers = corsHeaders(request, config);
  if (methods.includes(request.method)) return headers;
  const allow = [...methods, 'OPTIONS'].join(', ');
  if (request.method === 'OPTIONS') refuse(preflight(allow, headers));
  else {
    const detail = { code: 'unsupported', status: 405, message: `Send ${methods.join(' or ')}.` } as const;
    refuse(problemAnswer(problem(detail), { ...headers, allow }));
  }
  return undefined;
}

/**
 * An image or a link of a foreign page makes a GET without Origin, with the cookies of its visitor. Browsers say so
 * (https://www.w3.org/TR/fetch-metadata/).
 */
function checkFetchSite({ headers }: HandshakeRequest): HandshakeRefusal | undefined {
  const site = headers.get('sec-fetch-site')?.[0] ?? 'none';
  if (headers.has('origin') || site === 'none' || site === 'same-origin') return undefined;
  return { status: '403 Forbidden', reason: 'origin', message: 'A page of another site may not open this.' };
}

/** The headers of every answer to a page of an allowed origin. The caller has checked the origin. */
export function corsHeaders({ headers }: HandshakeRequest, { authCookie }: HandshakeSettings): Headers {
  const origin = headers.get('origin')?.[0];
  if (origin === undefined) return { vary: 'Origin' };
  return {
    vary: 'Origin',
    'access-control-allow-origin': origin,
    'access-control-expose-headers': 'Retry-After',
    // The page may see that the answer came over HTTP/2, which carries more streams (https://www.w3.org/TR/resource-timing/).
    'timing-allow-origin': origin,
    // With a cookie, `*` is no allowed origin (gateway/config.ts): the operator has named this one, or it is the own.
    ...(authCookie === undefined ? {} : { 'access-control-allow-credentials': 'true' }),
  };
}

/** The answer to OPTIONS, with `allow` as the methods of the path. */
export function preflight(allow: string, headers: Headers): Answer {
  return {
    // Not 204: the library writes a Content-Length, which 204 must not have (RFC 9110 section 8.6).
    status: '200 OK',
    headers: {
      allow,
      ...headers,
      'access-control-allow-methods': allow,
      'access-control-allow-headers': 'authorization, content-type, last-event-id',
      'access-control-max-age': String(maxAgeSeconds),
    },
    body: '',
  };
}
