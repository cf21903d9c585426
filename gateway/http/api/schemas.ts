/**
 * The schemas of the HTTP API: they check what comes in, and the OpenAPI document is made from them. Answers are not checked
 * while the node runs; a test holds them to their schemas. Those of all nodes: gateway/http/api/cluster-schemas.ts.
 */
import { z } from 'zod';
import { isRoomName, personalRoom } from '../../../shared/room.ts';
import { isEpoch, isPublishKey, maxConnectionIdCharacters, maxKeyBytes } from '../../protocol/roomcast/decode.ts';
import { limit, room, userName, whole, wholeNumber } from './fields.ts';

/** Rooms of one broadcast. */
export const maxRooms = 1_000;

const user = userName
  .refine((name) => isRoomName(personalRoom(name)), {
    error: 'has no personal room, because its name would be longer than 200 characters',
  })
  .meta({ description: 'A user: the `sub` of the tokens.', examples: ['alice'] });

const keyError = `must be a string of 1 to ${maxKeyBytes} bytes`;
const key = z.string(keyError).refine(isPublishKey, { error: keyError }).meta({
  description: `Makes it idempotent: of all calls with this key to a room, one is delivered within GATEWAY_DEDUPE_MS.`,
  minLength: 1,
  maxLength: maxKeyBytes,
});

const data = z
  .unknown()
  .refine((value) => value !== undefined, { error: 'must be there; null is a value too' })
  .meta({ description: 'Any JSON value. Members get its text byte for byte as it was sent.' });

const from = userName.meta({ description: 'The sender that members see; left out: none.' });

/** Checked before its items, so that a list that is far too long costs nothing. */
const boundedList = z
  .array(z.unknown(), 'must be a list of rooms')
  .max(maxRooms, `must list at most ${maxRooms} rooms; send several broadcasts`);
const rooms = boundedList.pipe(
  z
    .array(room)
    .min(1, 'must list a room at least')
    .max(maxRooms)
    .refine((list) => new Set(list).size === list.length, { error: 'lists a room twice; list each once' }),
);

export const roomParams = z.strictObject({ room });
export const userParams = z.strictObject({ user });

export const publishBody = z.strictObject({ data, key: key.optional(), from: from.optional() });
export const broadcastBody = z.strictObject({ rooms, data, key: key.optional(), from: from.optional() });
export const userMessageBody = z.strictObject({ data, key: key.optional() });

const offset = wholeNumber(0, Number.MAX_SAFE_INTEGER);

export const historyQuery = z.strictObject({
  after: offset.meta({ description: 'Only messages with a higher offset. Without it: the newest ones.' }).optional(),
  before: offset.meta({ description: 'Only messages with a lower offset.' }).optional(),
  epoch: z
    .string()
    .refine(isEpoch, { error: 'must have at most 64 characters' })
    .meta({ description: 'The epoch of the offsets. If the room is in another one, there are no messages.' })
    .optional(),
  limit,
});

export const membersQuery = z.strictObject({
  after: z
    .string()
    .max(maxConnectionIdCharacters, 'must be the connection of a member')
    .meta({ description: 'Only connections behind this one.' })
    .optional(),
  limit,
});

const published = {
  epoch: z.string().meta({ description: 'In a room with history.' }).optional(),
  offset: whole.meta({ description: 'Of the message, in a room with history.' }).optional(),
  id: z.string().meta({ description: 'Of the message, in a plain room.' }).optional(),
  duplicate: z.literal(true).meta({ description: 'A message with this key was accepted before.' }).optional(),
};

export const publishedAnswer = z.strictObject(published);

export const broadcastAnswer = z.strictObject({
  results: z.array(
    z.strictObject({
      room: z.string(),
      ...published,
      error: z.strictObject({ code: z.string(), message: z.string() }).optional(),
    }),
  ),
});

export const historyAnswer = z.strictObject({
  epoch: z.string(),
  offset: whole.meta({ description: 'The newest offset; 0: nothing was published yet.' }),
  first: whole.meta({ description: 'The oldest offset kept; `offset` + 1 if none is.' }),
  messages: z.array(
    z.strictObject({
      type: z.literal('message'),
      room: z.string(),
      offset: whole,
      data: z.unknown(),
      from: z.string().optional(),
      at: whole.meta({ description: 'When a node accepted it, Unix milliseconds.' }),
      key: z.string().optional(),
    }),
  ),
  more: z.literal(true).meta({ description: 'Messages were left out.' }).optional(),
});

export const membersAnswer = z.strictObject({
  count: whole.meta({ description: 'Connections in the room.' }),
  users: whole.meta({ description: 'Users in the room; an anonymous connection counts as one.' }),
  members: z.array(
    z.strictObject({ connection: z.string(), user: z.string().nullable(), info: z.unknown().optional() }),
  ),
  more: z.literal(true).meta({ description: 'The room has more: ask again with `after`.' }).optional(),
});

export const documentAnswer = z.looseObject({ openapi: z.string() });
