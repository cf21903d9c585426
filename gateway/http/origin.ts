/**
 * Origins (RFC 6454): which web pages may open a connection.
 *
 * Owns how an entry of GATEWAY_ALLOWED_ORIGINS is read and how the Origin of a request is held against it. Browsers write
 * an origin in one form, so entries are brought into that form at start, and a request costs a comparison of text. It knows
 * nothing of the rest of a handshake.
 */

/** Any origin, `null` included. */
const anyOrigin = '*';

/**
 * Reads an entry: `*`, an origin, or `https://*.example.org` for all hosts below example.org. Returns it as browsers write
 * it. Throws a TypeError that says what is wrong.
 */
export function readOrigin(entry: string): string {
  if (entry === anyOrigin) return entry;
  if (entry === 'null') throw new TypeError('is what any page in a sandbox sends; only * allows it, with all others');
  if (!entry.includes('://')) throw new TypeError(`has no scheme; write https://${entry} or http://${entry}`);
  if (!URL.canParse(entry)) throw new TypeError('is not an origin; write scheme://host or scheme://host:port');
  const { protocol, host, username, password, pathname, search, hash } = new URL(entry);
  if (/^wss?:$/.test(protocol)) throw new TypeError('is no origin of a page; write https:// or http://');
  if (username + password + search + hash !== '' || !['', '/'].includes(pathname)) {
    throw new TypeError(`holds more than an origin; write ${protocol}//${host}`);
  }
  if (host.replace(/^\*\.(?!$)/, '').includes('*')) {
    throw new TypeError(`has a * where none can be; write ${protocol}//*.example.org for all hosts below one`);
  }
  return `${protocol}//${host}`;
}

/** `allowed` is as `readOrigin` returns it. */
export function isAllowedOrigin(origin: string, allowed: string[]): boolean {
  return allowed.some((entry) => entry === anyOrigin || entry === origin || isBelow(origin, entry));
}

/** The scheme cannot be known behind a proxy that ends TLS; a host that matches is the same site under either. */
export function isSameOrigin(origin: string, host: string): boolean {
  if (!URL.canParse(origin)) return false;
  const { protocol, host: originHost, origin: asBrowsersWriteIt } = new URL(origin);
  if (origin.toLowerCase() !== asBrowsersWriteIt) return false;
  const port = { 'https:': ':443', 'http:': ':80' }[protocol];
  const wanted = host.toLowerCase();
  return port !== undefined && (wanted === originHost || wanted === originHost + port);
}

/** At any depth; example.org itself is not below example.org. */
function isBelow(origin: string, entry: string): boolean {
  const [scheme = '', domain] = entry.split('*');
  if (domain === undefined) return false;
  if (!origin.startsWith(scheme) || !origin.endsWith(domain)) return false;
  return /^[\w.-]+$/.test(origin.slice(scheme.length, -domain.length));
}
