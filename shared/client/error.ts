/**
 * The one error of the client library.
 *
 * Misuse, such as a URL that is none, is a TypeError instead.
 */
import type { ErrorCode } from '../codes.ts';

/** The codes of the wire protocol (docs/protocol.md), and `closed`: the client has ended for good. */
export type RoomcastErrorCode = ErrorCode | 'closed';

export class RoomcastError extends Error {
  readonly code: RoomcastErrorCode;
  /** When it may work, if the gateway said so. */
  readonly retryAfterMs: number | undefined;
  /** With `closed`: the close code of the connection, if the gateway ended it. */
  readonly closeCode: number | undefined;

  constructor(code: RoomcastErrorCode, message: string, retryAfterMs?: number, closeCode?: number) {
    super(message);
    this.name = 'RoomcastError';
    this.code = code;
    this.retryAfterMs = retryAfterMs;
    this.closeCode = closeCode;
  }
}

const transient = new Set<string>(['unavailable', 'timeout', 'internal', 'rate_limited']);

/** True if the same request may work later. */
export function isTransient(code: RoomcastErrorCode): boolean {
  return transient.has(code);
}
