/**
 * How long a client waits before it connects again. Pure functions.
 *
 * Full jitter: anything between 0 and a bound that doubles. When a node dies, all of its clients lose their connections at
 * once, so those that were connected begin at a bound of 5 s: 500 of them are 100 handshakes a second.
 */
import type { closeCode } from '../../codes.ts';

/** The close codes that mean something special to a client. As a type, the catalogue takes no room in the library. */
export const rateLimited = 4007 satisfies typeof closeCode.rateLimited;
export const unauthorized = 4501 satisfies typeof closeCode.unauthorized;
export const tokenExpired = 4002 satisfies typeof closeCode.tokenExpired;
export const connectionLimit = 4506 satisfies typeof closeCode.connectionLimit;

const firstBoundMs = 1_250;
const longestMs = 30_000;
/** What the close code `rateLimited` asks for at the least. */
export const rateLimitedMs = 30_000;

/** The step of a client that had a stable connection: a bound of 5 s. */
export const lostStep = 2;

/** `random` is from 0 to 1. */
export function backoffMs(step: number, random = Math.random()): number {
  return random * Math.min(longestMs, firstBoundMs * 2 ** step);
}

const finalBelow4500 = new Set([1000, 1002, 1003, 1007, 1009]);

/** True for a close code after which a client does not come back by itself (docs/protocol.md). */
export function isFinal(code: number): boolean {
  return code >= 4500 || finalBelow4500.has(code);
}
