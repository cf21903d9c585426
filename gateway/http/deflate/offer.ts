/**
 * Reads what a client offers in Sec-WebSocket-Extensions (RFC 6455 section 9.1), and finds an offer of permessage-deflate that
 * can be taken (RFC 7692 sections 5 and 7.1).
 *
 * A pure function. The library would take every header that contains `permessage-deflate`, whatever its parameters ask for.
 */

const token = /^[!#$%&'*+.^_`|~\w-]+$/;
const windowBits = /^(?:[89]|1[0-5])$/;

/** Parameters of an offer, and whether one with this value (undefined: none) is valid and can be granted. */
const parameters: Record<string, (value: string | undefined) => boolean> = {
  // Both are what the library does in any case.
  server_no_context_takeover: (value) => value === undefined,
  client_no_context_takeover: (value) => value === undefined,
  // A hint. Without an answer the client may use the largest window.
  client_max_window_bits: (value) => value === undefined || windowBits.test(value),
  // The library's window has 15 bits, and it cannot answer this parameter (7.1.2.1): the offer has to be declined.
  server_max_window_bits: () => false,
};

export function isDeflateOffered(headers: ReadonlyMap<string, string[]>): boolean {
  const offers = (headers.get('sec-websocket-extensions') ?? []).join(',').split(',');
  return offers.some(isTakable);
}

/** No valid parameter holds a comma or a semicolon, so an offer with one in quotes is no offer that could be taken. */
function isTakable(offer: string): boolean {
  const [name, ...rest] = offer.split(';').map((part) => part.trim());
  if (name !== 'permessage-deflate') return false;
  const seen = new Set<string>();
  return rest.every((parameter) => {
    const [key = '', value] = parameter.split(/\s*=\s*/, 2);
    const known = token.test(key) && Object.hasOwn(parameters, key) && !seen.has(key);
    seen.add(key);
    return known && (parameters[key]?.(value?.replace(/^"(.*)"$/, '$1')) ?? false);
  });
}
