/** The codes of this dialect: errors, ends of subscriptions, and closes. */
import type { CloseCode, ErrorCode } from '../../../shared/codes.ts';
import type { FinerCode, UnsubscribedReply } from '../reply.ts';

/** A type, not an interface: it is also fields of a value. */
type CodedError = {
  code: number;
  message: string;
  /** The client may try again. */
  temporary?: true;
};

export const errors: Readonly<Record<ErrorCode, CodedError>> = {
  internal: { code: 100, message: 'internal server error', temporary: true },
  unavailable: { code: 100, message: 'internal server error', temporary: true },
  timeout: { code: 100, message: 'internal server error', temporary: true },
  unauthorized: { code: 101, message: 'unauthorized' },
  forbidden: { code: 103, message: 'permission denied' },
  limit_exceeded: { code: 106, message: 'limit exceeded' },
  bad_request: { code: 107, message: 'bad request' },
  too_large: { code: 107, message: 'bad request' },
  unsupported: { code: 108, message: 'not available' },
  rate_limited: { code: 111, message: 'too many requests', temporary: true },
};

export const finerErrors: Readonly<Record<FinerCode, CodedError>> = {
  not_offered: errors.unsupported,
  token_expired: { code: 109, message: 'token expired' },
  unrecoverable: { code: 112, message: 'unrecoverable position' },
};

/** Below 2500 the subscription ends; from there on the client subscribes again at once. */
export const unsubscribes = {
  gap: { code: 2500, reason: 'insufficient state' },
  changed: { code: 2500, reason: 'the rule of this room has changed' },
  expired: { code: 2501, reason: 'the token of this subscription has expired' },
  revoked: { code: 2000, reason: 'the right to this room was taken away' },
  kicked: { code: 2000, reason: 'removed by the server' },
} satisfies Record<UnsubscribedReply['reason'] | 'gap', { code: number; reason: string }>;

/**
 * 3000 to 3499: the client connects again; 3500 to 3999: it does not. A reason is never empty, because clients connect again
 * without one, and never JSON, which they would read.
 */
export const closes: Readonly<Record<CloseCode, readonly [code: number, reason: string]>> = {
  1000: [3000, 'connection closed'],
  1003: [3508, 'not available'],
  4001: [3001, 'shutdown'],
  4002: [3005, 'connection expired'],
  4003: [3008, 'slow'],
  4004: [3012, 'no pong'],
  4005: [3004, 'internal server error'],
  4006: [3004, 'internal server error'],
  4007: [3013, 'too many requests'],
  4008: [3010, 'insufficient state'],
  4501: [3500, 'invalid token'],
  4502: [3502, 'stale'],
  4503: [3503, 'force disconnect'],
  4504: [3501, 'bad request'],
  4506: [3504, 'connection limit'],
};
