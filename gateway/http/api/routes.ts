/**
 * The table of the routes of the HTTP API: each call with its path, its schemas, and the operation behind it. One more call
 * is one more entry here, or in gateway/http/api/cluster-routes.ts if all nodes have to confirm it.
 */
import { personalRoom } from '../../../shared/room.ts';
import { broadcast } from '../../operations/broadcast.ts';
import { server } from '../../operations/caller.ts';
import { history } from '../../operations/history.ts';
import { presence } from '../../operations/presence.ts';
import { publishFromServer, type ServerPublished } from '../../operations/publish.ts';
import { historyPage, presencePage } from '../../protocol/roomcast/encode.ts';
import { clusterRoutes } from './cluster-routes.ts';
import { noParams, noQuery } from './fields.ts';
import { openApiText } from './openapi.ts';
import { done, type Route, route } from './route.ts';
import * as schemas from './schemas.ts';

/** Of a broadcast, which lists up to 1,000 rooms. */
const maxBroadcastBytes = 1_048_576;

export const routes: readonly Route[] = [
  route({
    method: 'POST',
    path: '/api/rooms/{room}/messages',
    name: 'publish',
    summary: 'Publishes a message to a room.',
    params: schemas.roomParams,
    query: noQuery,
    body: { schema: schemas.publishBody },
    answer: schemas.publishedAnswer,
    perform: async ({ params: { room }, fields: { key, from }, data }, parts) =>
      done(publishedFields(await publishFromServer(parts, { room, data, key, from }))),
  }),
  route({
    method: 'POST',
    path: '/api/broadcast',
    name: 'broadcast',
    summary: 'Publishes a message to up to 1,000 rooms. Each room has its own result, in the order of the list.',
    params: noParams,
    query: noQuery,
    body: { schema: schemas.broadcastBody, maxBytes: maxBroadcastBytes },
    answer: schemas.broadcastAnswer,
    perform: async ({ fields: { rooms, key, from }, data }, parts) => {
      const results = (await broadcast(parts, rooms, { data, key, from })).map((result) => {
        if (!('refusal' in result)) return { room: result.room, ...publishedFields(result) };
        const { code, message } = result.refusal;
        return { room: result.room, error: { code, message } };
      });
      return done({ results });
    },
  }),
  route({
    method: 'POST',
    path: '/api/users/{user}/messages',
    name: 'publishToUser',
    summary: 'Publishes a message to the personal room of a user.',
    params: schemas.userParams,
    query: noQuery,
    body: { schema: schemas.userMessageBody },
    answer: schemas.publishedAnswer,
    perform: async ({ params: { user }, fields: { key }, data }, parts) => {
      const message = { room: personalRoom(user), data, key, from: undefined };
      return done(publishedFields(await publishFromServer(parts, message)));
    },
  }),
  route({
    method: 'GET',
    path: '/api/rooms/{room}/messages',
    name: 'history',
    summary: 'Reads the kept messages of a room with history, by ascending offset.',
    params: schemas.roomParams,
    query: schemas.historyQuery,
    answer: schemas.historyAnswer,
    statuses: [403],
    perform: async ({ params: { room }, query: { after, before, epoch, limit } }, parts) => {
      const question = { room, after, before, epoch, limit };
      return { status: 200, text: historyPage({}, await history(parts, server, question, Number.POSITIVE_INFINITY)) };
    },
  }),
  route({
    method: 'GET',
    path: '/api/rooms/{room}/members',
    name: 'members',
    summary: 'Lists the connections in a room with presence, on all nodes, ordered by connection.',
    params: schemas.roomParams,
    query: schemas.membersQuery,
    answer: schemas.membersAnswer,
    statuses: [403],
    perform: async ({ params: { room }, query: { after, limit } }, parts) => {
      const page = await presence(parts, server, { room, after, limit });
      return { status: 200, text: presencePage({}, page) };
    },
  }),
  ...clusterRoutes,
  route({
    method: 'GET',
    path: '/api/openapi.json',
    name: 'openapi',
    summary: 'This document.',
    open: true,
    params: noParams,
    query: noQuery,
    answer: schemas.documentAnswer,
    perform: async (_, { version }) => ({ status: 200, text: openApiText(routes, version) }),
  }),
];

function publishedFields({ position, id, duplicate }: ServerPublished) {
  // One shape for all: undefined fields are not in the JSON.
  return { epoch: position?.epoch, offset: position?.offset, id, duplicate: duplicate || undefined };
}
