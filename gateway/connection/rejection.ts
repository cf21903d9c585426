/**
 * What a client is told of something that it asked for and that was rejected.
 *
 * Trouble with the backplane is told as it is. Anything else is a fault of the gateway: it is reported, and answered by
 * `internal`, and the connection goes on. What throws in the middle of its work may have done half of it: that costs the
 * connection (Connection.fail), and its client resumes on a new one.
 */
import type { FrameId } from '../../shared/protocol.ts';
import { BackplaneError } from '../backplane/backplane.ts';
import { trouble } from '../protocol/answers.ts';
import type { Faults } from '../telemetry/faults.ts';

/**
 * The `error` frame. `what` failed, in words of ours; `again` is what the client could do again, and `how`, where the outcome
 * is unknown.
 */
export function rejection(
  faults: Faults,
  what: string,
  error: unknown,
  id: FrameId | undefined,
  again: string,
  how?: string,
): string {
  if (!(error instanceof BackplaneError)) faults.report(what, error);
  return trouble(id, error, again, how);
}
