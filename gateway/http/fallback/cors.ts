/**
 * Cross-origin requests (https://fetch.spec.whatwg.org, CORS): which pages may read an answer. GATEWAY_ALLOWED_ORIGINS
 * decides, as for WebSockets. Pure functions; the Origin itself is checked in gateway/http/handshake.ts.
 */
import type { HandshakeRequest, HandshakeSettings } from '../handshake.ts';
import type { Answer, Headers } from '../response.ts';

/** How long a browser may remember a preflight. Browsers cut it to 2 h. */
const maxAgeSeconds = 7200;

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
