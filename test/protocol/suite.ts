/**
 * The protocol suite: every rule of RFC 6455 that a server can be held to, over bare TCP, against any address.
 *
 * It needs a target that speaks roomcast.v1.json with `testSecret`, the default message size, and no rate limits
 * (`protocolSettings`). Deviations are named in the titles of their tests and listed in docs/protocol.md.
 */
import { controlSuite } from './control.ts';
import { fragmentationSuite } from './fragmentation.ts';
import { framingSuite } from './framing.ts';
import { handshakeSuite } from './handshake.ts';
import { limitsSuite } from './limits.ts';
import type { Target } from './target.ts';
import { textSuite } from './text.ts';

/** Of a node under test: rules are looked at one by one here, so none may be hidden behind a rate limit. */
export const protocolSettings = { REQUEST_RATE: 0 };

export function protocolSuite(target: Target): void {
  handshakeSuite(target);
  framingSuite(target);
  fragmentationSuite(target);
  controlSuite(target);
  textSuite(target);
  limitsSuite(target);
}
