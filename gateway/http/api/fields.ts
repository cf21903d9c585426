/**
 * The fields that the schemas of the HTTP API share: names, limits and numbers, each with the sentence for a wrong one.
 *
 * What a call takes and answers is in gateway/http/api/schemas.ts and gateway/http/api/cluster-schemas.ts.
 */
import { z } from 'zod';
import { isRoomName, roomNameRule } from '../../../shared/room.ts';
import { isUserName, maxUserBytes } from '../../auth/grants.ts';
import { defaultLimit, maxLimit } from '../../protocol/roomcast/decode.ts';

export const room = z
  .string('must be the name of a room, a string')
  .refine(isRoomName, { error: `must be ${roomNameRule}` })
  .meta({ description: `A room: ${roomNameRule}.`, minLength: 1, maxLength: 200, examples: ['chat:lobby'] });

const userNameError = `must be 1 to ${maxUserBytes} bytes of valid Unicode`;
export const userName = z
  .string(`${userNameError}, a string`)
  .refine(isUserName, { error: userNameError })
  .meta({
    description: 'A user: the `sub` of the tokens.',
    minLength: 1,
    maxLength: maxUserBytes,
    examples: ['alice'],
  });

/** In a query. */
export function wholeNumber(least: number, most: number) {
  const error = `must be a whole number from ${least} to ${most}`;
  return z
    .string()
    .regex(/^\d{1,16}$/, error)
    .transform(Number)
    .pipe(z.int(error).min(least, error).max(most, error));
}

export const limit = wholeNumber(1, maxLimit).default(defaultLimit).meta({ description: 'At most so many.' });
/** A number of something, or an offset. */
export const whole = z.int().min(0);

export const noParams = z.strictObject({});
export const noQuery = z.strictObject({});
