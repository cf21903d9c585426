/** The errors of gateway/backplane/backplane.ts, of which an outage makes one for each room and each request under way. */
import { expect, test } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';

test('an answer of the backplane costs no stack, and other errors keep theirs', () => {
  expect(new BackplaneError('unavailable', 'Redis is away').stack).not.toMatch(/\n\s+at /);
  expect(new Error('another').stack).toMatch(/\n\s+at /);
});
