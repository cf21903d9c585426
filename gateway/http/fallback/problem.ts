/**
 * Errors of the fallback as problems (gateway/http/problem.ts). Pure functions.
 *
 * Besides its status, an error before a stream begins says what an `error` frame says to a WebSocket.
 */
import type { CloseCode, ErrorCode } from '../../../shared/codes.ts';
import { Problem, problems } from '../problem.ts';

/** When to come back if nothing is known: Redis, or another node, may be back by then. */
const retryAfterSeconds = 5;

export interface ProblemDetail {
  code: ErrorCode;
  /** A sentence that tells the client what to do. */
  message: string;
  retryAfterMs?: number | undefined;
  /** Where HTTP has a better status than that of the code. */
  status?: number;
}

export function problem({ code, message, retryAfterMs, status = problems[code][0] }: ProblemDetail): Problem {
  const again = status === 429 || status === 503;
  const seconds = Math.max(1, Math.ceil((retryAfterMs ?? retryAfterSeconds * 1000) / 1000));
  return new Problem(code, message, { status, ...(again ? { retryAfterSeconds: seconds } : {}) });
}

const draining = 'This node is stopping; try another one.';

/** Why a stream or a poll was closed before its answer. */
export function problemOfClose(code: CloseCode): Problem {
  switch (code) {
    case 4002:
    case 4501:
    case 4502:
      return problem({ code: 'unauthorized', message: 'The token is not valid, or is not welcome; get a new one.' });
    case 4503:
      return problem({ code: 'forbidden', message: 'An administrator has disconnected this user.' });
    case 4007:
    case 4506:
      return problem({ code: 'limit_exceeded', message: 'This user has too many connections; close others first.' });
    case 4001:
      return problem({ code: 'unavailable', message: draining });
    default:
      return problem({ code: 'unavailable', message: 'This node cannot serve the room now; try again in a moment.' });
  }
}
