/**
 * The closed catalogue of error codes and close codes of `roomcast.v1.json`.
 *
 * Gateway and clients import it; it imports nothing and runs in browsers. The range of a close code says what a client
 * does: 4000-4499 reconnect with backoff, 4500-4999 do not reconnect until something has changed (docs/protocol.md).
 */

/** `code` of an `error` frame. */
export type ErrorCode =
  /** Not JSON, not an object, no type, a field of the wrong type or form, nested too deep, a duplicate top-level key. */
  | 'bad_request'
  /** A frame type that this version does not know. */
  | 'unsupported'
  /** Not authenticated yet, or the token of a refresh is not valid. */
  | 'unauthorized'
  /** Authenticated, but neither a room rule nor the token allows it. */
  | 'forbidden'
  /** The frame is larger than `maxMessageBytes` of `welcome`. */
  | 'too_large'
  /** Over the publish or request rate; `retryAfterMs` says when to try again. */
  | 'rate_limited'
  /** A limit on a number is reached, for instance rooms per connection. */
  | 'limit_exceeded'
  /** The backplane is away; the message was certainly not taken. */
  | 'unavailable'
  /** The backplane did not answer in time; the outcome is unknown. Retry with the same `key`. */
  | 'timeout'
  /** A fault of the gateway itself. */
  | 'internal';

/** WebSocket close codes that the gateway sends (RFC 6455 section 7.4: 4000-4999 are private use). */
export const closeCode = {
  /** Only of streams (docs/http-fallback.md): the membership has ended, and `unsubscribed` has said why. */
  normal: 1000,
  unsupportedData: 1003,
  draining: 4001,
  tokenExpired: 4002,
  slowConsumer: 4003,
  heartbeatTimeout: 4004,
  overloaded: 4005,
  internalError: 4006,
  rateLimited: 4007,
  /** Only of dialects whose clients cannot be told of a `gap` in a room that their token assigns. */
  insufficientState: 4008,
  unauthorized: 4501,
  authTimeout: 4502,
  disconnected: 4503,
  protocolError: 4504,
  connectionLimit: 4506,
} as const;

export type CloseCode = (typeof closeCode)[keyof typeof closeCode];

/** The reason text sent with each close code: at most 123 bytes (RFC 6455 section 5.5). */
export const closeReason: Record<CloseCode, string> = {
  1000: 'the membership has ended',
  1003: 'send text with roomcast.v1.json, binary frames with roomcast.v1.msgpack',
  4001: 'draining: reconnect',
  4002: 'token expired: get a new token, then reconnect',
  4003: 'slow consumer: read faster, or subscribe to less',
  4004: 'heartbeat timeout: reconnect',
  4005: 'overloaded: reconnect with backoff',
  4006: 'internal error: reconnect with backoff',
  4007: 'rate limited: wait at least 30 s before reconnecting',
  4008: 'insufficient state: reconnect and resume',
  4501: 'unauthorized: come back with a valid token',
  4502: 'no token in time: send auth first',
  4503: 'disconnected by an administrator',
  4504: 'protocol error: too many malformed frames in a row',
  4506: 'connection limit: replaced by a newer connection of this user',
};
