/**
 * The opening handshake (RFC 6455 section 4.2.1): which requests become connections, and what token came with them.
 *
 * Pure functions over the request's headers. The WebSocket server underneath upgrades on a 24-character key alone, so
 * everything else is checked here.
 */
import { tokenSubprotocolPrefix } from '../../shared/protocol.ts';
import type { Dialect } from '../protocol/dialect.ts';
import type { HandshakeRejection } from '../telemetry/events.ts';
import { isAllowedOrigin, isSameOrigin } from './origin.ts';

/** A request, its header names in lower case; `headers` keeps every line of the request, doubles included. */
export interface HandshakeRequest {
  method: string;
  query: string;
  headers: Map<string, string[]>;
}

export interface HandshakeSettings {
  authCookie: string | undefined;
  authQuery: boolean;
  /** As browsers write them (gateway/http/origin.ts). */
  allowedOrigins: string[] | undefined;
}

export interface HandshakeRefusal {
  status: string;
  reason: HandshakeRejection;
  /** A sentence that says what to do. */
  message: string;
  headers?: Record<string, string>;
}

export interface AcceptedHandshake {
  key: string;
  dialect: Dialect;
  /** Answered only if the client offered it. */
  subprotocol: string;
  /** The first token found, good or bad. */
  token: string | undefined;
}

/** 16 bytes in base64 (RFC 6455 section 4.1). */
const keyGrammar = /^[A-Za-z0-9+/]{21}[AQgw]==$/;

/** `dialects` are those that a client may choose; the first one is for a client that chooses none. */
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
  if (!listed(headers, 'upgrade', 'websocket') || !listed(headers, 'connection', 'upgrade')) {
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
  // A length of 0 says that there is none, as some clients and proxies do with every request: whoever reads it ends the
  // request at the same byte. Other bytes that are announced as a body would be read as frames.
  if ((headers.has('content-length') && one('content-length') !== '0') || headers.has('transfer-encoding')) {
    return refuse('400 Bad Request', 'request', 'A handshake has no body.');
  }
  return undefined;
}

const versions = { 'sec-websocket-version': '13', upgrade: 'websocket', connection: 'Upgrade' };

/** A foreign page must not act for its visitor. Browsers always send Origin; other clients are not bound by it. */
function checkOrigin({ headers }: HandshakeRequest, allowed: string[] | undefined): HandshakeRefusal | undefined {
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
  const offered = values(request.headers, 'sec-websocket-protocol');
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

/** The order of docs/protocol.md; the first one found wins. */
function findToken(
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
    // A value may stand in quotes (RFC 6265 section 4.1.1), which no token holds.
    return /^".*"$/.test(value) ? value.slice(1, -1) : value;
  }
  return undefined;
}

/** The items of a comma list that may be spread over several header lines (RFC 9110 section 5.3). */
function values(headers: Map<string, string[]>, name: string): string[] {
  return (headers.get(name) ?? [])
    .join(',')
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean);
}

function listed(headers: Map<string, string[]>, name: string, token: string): boolean {
  return values(headers, name).some((item) => item.toLowerCase() === token);
}

function refuse(
  status: string,
  reason: HandshakeRejection,
  message: string,
  headers: Record<string, string> = {},
): HandshakeRefusal {
  return { status, reason, message, headers };
}
