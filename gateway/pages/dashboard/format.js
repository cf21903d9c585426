/** Numbers, times and reasons as an operator reads them. Pure functions. */

const whole = new Intl.NumberFormat('en');
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

/** @param {number | null | undefined} value */
export function count(value) {
  if (value === null || value === undefined) return '–';
  return Math.abs(value) < 100_000 ? whole.format(Math.round(value)) : short.format(value);
}

/** Per second. @param {number | null | undefined} value */
export function rate(value) {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '0';
  return value < 10 ? value.toFixed(1) : count(value);
}

/** @param {number | null | undefined} seconds */
export function seconds(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 0.000_95) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.995) return `${(seconds * 1e3).toPrecision(seconds < 0.1 ? 2 : 3).replace(/\.0$/, '')} ms`;
  return `${Number(seconds.toPrecision(3))} s`;
}

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toPrecision(2)} ${units[unit]}`;
}

/** A duration: the two largest units. @param {number} ms */
export function duration(ms) {
  const total = Math.max(0, Math.round(ms / 1000));
  const [days, hours, minutes] = [
    Math.floor(total / 86_400),
    Math.floor(total / 3600) % 24,
    Math.floor(total / 60) % 60,
  ];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return `${minutes} min ${total % 60} s`;
  return `${total} s`;
}

/** @param {number} value  0 to 1 */
export function percent(value) {
  return value > 0 && value < 0.01 ? '< 1 %' : `${Math.round(value * 100)} %`;
}

/** @param {number} at  Unix ms */
export function clock(at) {
  return new Date(at).toLocaleTimeString('en-GB');
}

/** @param {string[]} names */
export function list(names) {
  return names.length <= 4 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`;
}

/** Close codes, docs/protocol.md. @type {Record<string, string>} */
const closes = {
  1000: 'ended by the client',
  1001: 'the page was left',
  1005: 'ended without a code',
  1006: 'cut without a close',
  4001: 'moved: the node drains',
  4002: 'token expired',
  4003: 'slow reader',
  4004: 'no answer to pings',
  4005: 'overloaded',
  4006: 'internal error',
  4007: 'over the rate',
  4008: 'missed messages of a room of its token',
  4501: 'not authorised',
  4502: 'no token in time',
  4503: 'by an administrator',
  4504: 'protocol error',
  4506: 'too many connections of the user',
};

/** @type {Record<string, string>} */
const rejects = {
  request: 'no WebSocket handshake',
  version: 'other WebSocket version',
  subprotocol: 'unknown subprotocol',
  origin: 'origin not allowed',
  capacity: 'the node is full',
  descriptors: 'no file descriptor left',
  draining: 'the node drains',
  address: 'too many from one address',
  token_malformed: 'token is malformed',
  token_signature: 'signature is wrong',
  token_key: 'unknown key',
  token_expired: 'token has expired',
  token_claims: 'claims are wrong',
  token_unavailable: 'keys cannot be fetched',
  blocked: 'user is blocked',
  callback_denied: 'callback said no',
  callback_unavailable: 'callback did not answer',
};

/** What a reason means, in words. @param {'closed' | 'rejected'} kind @param {string} reason */
export function meaning(kind, reason) {
  return (kind === 'closed' ? closes : rejects)[reason] ?? '';
}
