/**
 * Origins (RFC 6454): which web pages may open a connection.
 *
 * Owns how an entry of GATEWAY_ALLOWED_ORIGINS is read, and how the Origin of a request is compared with it. Browsers write
 * an origin in one form. Entries are normalised to that form at start, so that a request costs a comparison of strings. It
 * knows nothing else of a handshake.
 */

/** Any origin, `null` included. */
const anyOrigin = '*';

/**
 * Reads an entry: `*`, an origin, or `https://*.example.org` for all hosts below example.org. Returns it in the form of
 * browsers. Throws a TypeError that says what is wrong.
 */
export function readOrigin(entry: string): string {
  if (entry === anyOrigin) return entry;
  if (entry === 'null')
    throw new TypeError('is sent by any page in a sandbox; only * allows it, together with all other origins');
  if (!entry.includes('://')) throw new TypeError(`has no scheme; write https://${entry} or http://${entry}`);
  const notOne = 'is not an origin; write scheme://host or scheme://host:port';
  if (!URL.canParse(entry)) throw new TypeError(notOne);
  const { protocol, host, username, password, pathname, search, hash } = new URL(entry);
  // The URL standard takes https:///host for https://host.
  if (host !== '' && /:\/\/[/\\]/.test(entry)) throw new TypeError(notOne);
  if (/^wss?:$/.test(protocol)) throw new TypeError('is not the origin of a page; write https:// or http://');
  if (username + password + search + hash !== '' || !['', '/'].includes(pathname)) {
    throw new TypeError(`holds more than an origin; write ${protocol}//${host}`);
  }
  if (host.replace(/^\*\.(?!$)/, '').includes('*')) {
    throw new TypeError(`has a * in a wrong place; write ${protocol}//*.example.org for all hosts below one`);
  }
  return `${protocol}//${host}`;
}

/** `allowed`: entries as returned by `readOrigin`. */
export function isAllowedOrigin(origin: string, allowed: string[]): boolean {
  return allowed.some((entry) => entry === anyOrigin || entry === origin || isBelow(origin, entry));
}

/** Compares hosts only: behind a proxy that ends TLS the scheme is unknown, and a matching host is the same site. */
export function isSameOrigin(origin: string, host: string): boolean {
  if (!URL.canParse(origin)) return false;
  const { protocol, host: originHost, origin: asBrowsersWriteIt } = new URL(origin);
  if (origin.toLowerCase() !== asBrowsersWriteIt) return false;
  const port = { 'https:': ':443', 'http:': ':80' }[protocol];
  const wanted = host.toLowerCase();
  return port !== undefined && (wanted === originHost || wanted === originHost + port);
}

/** True for a host below the domain of the entry, at any depth; example.org is not below example.org. */
function isBelow(origin: string, entry: string): boolean {
  const [scheme = '', domain] = entry.split('*');
  if (domain === undefined) return false;
  if (!origin.startsWith(scheme) || !origin.endsWith(domain)) return false;
  return /^[\w.-]+$/.test(origin.slice(scheme.length, -domain.length));
}
