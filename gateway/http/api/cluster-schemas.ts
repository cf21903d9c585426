/** The schemas of the calls that go to all nodes: what they take, and what they answer. */
import { z } from 'zod';
import { isRoomPattern } from '../../../shared/room.ts';
import { connectionEntry, roomEntry } from '../../operations/cluster/lists.ts';
import { nodeEntry } from '../../operations/cluster/nodes.ts';
import { maxBlockSeconds } from '../../operations/cluster/users.ts';
import { maxConnectionIdCharacters } from '../../protocol/roomcast/decode.ts';
import { limit, room, userName, whole } from './fields.ts';

export const userParams = z.strictObject({ user: userName });
export const roomMemberParams = z.strictObject({ room, user: userName });

const idError = `must be 1 to ${maxConnectionIdCharacters} characters: the id of a connection`;
export const connectionParams = z.strictObject({
  id: z
    .string()
    .min(1, idError)
    .max(maxConnectionIdCharacters, idError)
    .meta({ description: 'A connection, as lists and `welcome` name it.' }),
});

const blockError = `must be a whole number from 0 to ${maxBlockSeconds}`;
export const disconnectBody = z.strictObject({
  blockSeconds: z
    .int(blockError)
    .min(0, blockError)
    .max(maxBlockSeconds, blockError)
    .meta({ description: 'So long no node lets the user in. 0 ends a block. Left out: as it was.' })
    .optional(),
});
export const noBody = z.strictObject({});

export const roomsQuery = z.strictObject({
  prefix: z
    .string()
    .refine((text) => text === '' || (isRoomPattern(text) && !text.includes('*')), {
      error: 'must be the beginning of the name of a room: at most 200 of its characters, and no *',
    })
    .meta({ description: 'Only rooms that begin with this.' })
    .optional(),
  after: room.meta({ description: 'Only rooms behind this one.' }).optional(),
  limit,
});

const nodeName = z.string().regex(/^[\w.-]{1,64}$/, 'must be the name of a node, its GATEWAY_NODE_ID');

export const nodesQuery = z.strictObject({
  after: nodeName.meta({ description: 'Only nodes behind this one.' }).optional(),
  limit,
});

export const connectionsQuery = z.strictObject({
  user: userName.meta({ description: 'Only connections of this user.' }).optional(),
  room: room.meta({ description: 'Only members of this room.' }).optional(),
  node: nodeName.meta({ description: 'Only connections of this node.' }).optional(),
  after: z
    .string()
    .max(maxConnectionIdCharacters, 'must be a connection of the page before')
    .regex(/^.+-\d{1,16}$/, 'must be a connection of the page before')
    .meta({ description: 'Only connections behind this one.' })
    .optional(),
  limit,
});

const missing = z
  .array(z.string())
  .min(1)
  .meta({ description: 'Nodes that did not confirm in time. The status is then 202.' })
  .optional();
const more = z.literal(true).meta({ description: 'There are more: ask again with `after`, the last one.' }).optional();

export const roomsAnswer = z.strictObject({ rooms: z.array(z.strictObject(roomEntry.shape)), more, missing });
export const connectionsAnswer = z.strictObject({
  connections: z.array(z.strictObject(connectionEntry.shape)),
  more,
  missing,
});
export const disconnectedAnswer = z.strictObject({
  disconnected: whole.meta({ description: 'Connections that were closed.' }),
  missing,
});
export const subscribedAnswer = z.strictObject({
  subscribed: whole.meta({ description: 'Connections of the user that are members now.' }),
  missing,
});
export const removedAnswer = z.strictObject({
  removed: whole.meta({ description: 'Connections of the user that were members.' }),
  missing,
});
export const nodesAnswer = z.strictObject({ nodes: z.array(z.strictObject(nodeEntry.shape)), more, missing });
export const statsAnswer = z.strictObject({
  nodes: whole.meta({ description: 'That answered.' }),
  connections: whole,
  users: whole.meta({ description: 'With a connection; above 4,096 an estimate.' }).optional(),
  rooms: whole.meta({ description: 'With a member; above 4,096 an estimate.' }),
  publishedPerSecond: z.number().meta({ description: 'Over the last seconds.' }),
  deliveredPerSecond: z.number().meta({ description: 'Over the last seconds; to each member counts.' }),
  missing,
});
