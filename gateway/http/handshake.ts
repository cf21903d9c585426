/**
 * The opening handshake (RFC 6455 section 4.2.1): accepts or refuses a request, and finds its token.
 *
 * Pure functions over the headers of the request. The WebSocket library only checks that the key has 24 characters, so
 * everything else is checked here.
 */
import { tokenSubprotocolPrefix } from '../../shared/protocol.ts';
import type { Dialect } from '../protocol/dialect.ts';
import type { HandshakeRejection } from '../telemetry/events.ts';
import { isAllowedOrigin, isSameOrigin } from './origin.ts';
import { type Answer, textAnswer } from './response.ts';

/** Header names are in lower case. `headers` has the value of every header line, also of repeated ones. */
export interface HandshakeRequest {
  method: string;
  query: string;
  headers: Map<string, string[]>;
}

export interface HandshakeSettings {
  authCookie: string | undefined;
  authQuery: boolean;
  /** In the form that browsers send (gateway/http/origin.ts). Undefined: only the origin of the own host. */
  allowedOrigins: string[] | undefined;
}

export interface HandshakeRefusal {
  status: string;
  reason: HandshakeRejection;
  /** Tells the client what to do. */
  message: string;
  headers?: Record<string, string>;
  /** When to try again. */
  retryAfterSeconds?: number;
}

export interface AcceptedHandshake {
  key: string;
  dialect: Dialect;
  /** The subprotocol to answer; empty if the client offered none. */
  subprotocol: string;
  /** The first token found, valid or not. */
  token: string | undefined;
}

/** Those that a client may choose. The first one is for a client that chooses none. */
export type DialectsOf = (request: HandshakeRequest) => readonly Dialect[];

const retryAfterSeconds = 5;

/** 16 bytes in base64 (RFC 6455 section 4.1). */
const keyGrammar = /^[A-Za-z0-9+/]{21}[AQgw]==$/;

/** A client chooses one of `dialects` by its subprotocol. Without a subprotocol it gets the first one. */
export function readHandshake(
  request: HandshakeRequest,
  settings: HandshakeSettings,
  dialects: readonly Dialect[],
): AcceptedHandshake | HandshakeRefusal {
  return checkRequest(request) ?? checkOrigin(request, settings.allowedOrigins) ?? accept(request, settings, dialects);
}

function checkRequest({ method, headers }: HandshakeRequest): HandshakeRefusal | undefined {
  const one = (name: string) => (headers.get(name)?.length === 1 ? headers.get(name)?.[0] : undefined);
  if (method !== 'GET')
    return refuse('405 Method Not Allowed', 'request', 'Open a WebSocket with GET.', { allow: 'GET' });
  if (!hasItem(headers, 'upgrade', 'websocket') || !hasItem(headers, 'connection', 'upgrade')) {
    return refuse(
      '426 Upgrade Required',
      'request',
      'This is a WebSocket endpoint; send Upgrade: websocket.',
      versions,
    );
  }
  if (one('sec-websocket-version') !== '13') {
    return refuse('426 Upgrade Required', 'version', 'Send Sec-WebSocket-Version: 13.', versions);
  }
  if (one('host') === undefined) return refuse('400 Bad Request', 'request', 'Send one Host header.');
  if (!keyGrammar.test(one('sec-websocket-key') ?? '')) {
    return refuse('400 Bad Request', 'request', 'Send one Sec-WebSocket-Key of 16 bytes in base64.');
  }
  // Content-Length 0 is harmless, and some clients and proxies send it with every request. Any other body would be read
  // as WebSocket frames.
  if ((headers.has('content-length') && one('content-length') !== '0') || headers.has('transfer-encoding')) {
    return refuse('400 Bad Request', 'request', 'A handshake has no body.');
  }
  return undefined;
}

const versions = { 'sec-websocket-version': '13', upgrade: 'websocket', connection: 'Upgrade' };

/**
 * A foreign page must not act for its visitor. Browsers always send Origin with a handshake; for other clients it proves
 * nothing.
 */
export function checkOrigin(
  { headers }: HandshakeRequest,
  allowed: string[] | undefined,
): HandshakeRefusal | undefined {
  const origins = headers.get('origin');
  if (origins === undefined) return undefined;
  const [origin = ''] = origins;
  const good =
    origins.length === 1 &&
    (allowed === undefined ? isSameOrigin(origin, headers.get('host')?.[0] ?? '') : isAllowedOrigin(origin, allowed));
  if (good) return undefined;
  return refuse('403 Forbidden', 'origin', 'This origin is not allowed; the operator sets GATEWAY_ALLOWED_ORIGINS.');
}

function accept(
  request: HandshakeRequest,
  settings: HandshakeSettings,
  dialects: readonly Dialect[],
): AcceptedHandshake | HandshakeRefusal {
  const offered = listItems(request.headers, 'sec-websocket-protocol');
  const names = dialects.map(({ subprotocol }) => subprotocol);
  const name = offered.length > 0 ? offered.find((item) => names.includes(item)) : names[0];
  const dialect = dialects.find(({ subprotocol }) => subprotocol === name);
  if (dialect === undefined) {
    return refuse('400 Bad Request', 'subprotocol', `Offer the subprotocol ${names.join(' or ')}, or none.`);
  }
  return {
    key: request.headers.get('sec-websocket-key')?.[0] ?? '',
    dialect,
    subprotocol: offered.length > 0 ? dialect.subprotocol : '',
    token: findToken(request, offered, settings),
  };
}

/** Looks in the order of docs/protocol.md; the first token found wins. `offered`: the subprotocols. */
export function findToken(
  { headers, query }: HandshakeRequest,
  offered: string[],
  settings: HandshakeSettings,
): string | undefined {
  const bearer = /^bearer(?: +(.*))?$/i.exec(headers.get('authorization')?.[0] ?? '');
  if (bearer !== null) return bearer[1] ?? '';
  const entry = offered.find((item) => item.startsWith(tokenSubprotocolPrefix));
  if (entry !== undefined) return entry.slice(tokenSubprotocolPrefix.length);
  if (settings.authQuery) {
    const token = new URLSearchParams(query).get('token');
    if (token !== null) return token;
  }
  return settings.authCookie === undefined ? undefined : findCookie(headers, settings.authCookie);
}

function findCookie(headers: Map<string, string[]>, name: string): string | undefined {
  for (const pair of (headers.get('cookie') ?? []).join(';').split(';')) {
    const equals = pair.indexOf('=');
    if (equals === -1 || pair.slice(0, equals).trim() !== name) continue;
    const value = pair.slice(equals + 1).trim();
    // A cookie value may be quoted (RFC 6265 section 4.1.1). A token contains no quotes.
    return /^".*"$/.test(value) ? value.slice(1, -1) : value;
  }
  return undefined;
}

/** The items of a comma-separated header, which may have several lines (RFC 9110 section 5.3). */
function listItems(headers: Map<string, string[]>, name: string): string[] {
  return (headers.get(name) ?? [])
    .join(',')
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean);
}

function hasItem(headers: Map<string, string[]>, name: string, token: string): boolean {
  return listItems(headers, name).some((item) => item.toLowerCase() === token);
}

function refuse(
  status: string,
  reason: HandshakeRejection,
  message: string,
  headers: Record<string, string> = {},
): HandshakeRefusal {
  return { status, reason, message, headers };
}

/** A refusal that says when to come back. */
export function busy(
  status: string,
  reason: HandshakeRefusal['reason'],
  message: string,
  seconds = retryAfterSeconds,
): HandshakeRefusal {
  return { status, reason, message, retryAfterSeconds: seconds };
}

export function refusalAnswer({ status, message, headers, retryAfterSeconds: seconds }: HandshakeRefusal): Answer {
  const retryAfter = seconds === undefined ? {} : { 'retry-after': String(seconds) };
  return { ...textAnswer(status, message, { ...headers, ...retryAfter }), close: true };
}
