/**
 * The calls that go to all nodes: connections, users in rooms, rooms, nodes. Every node confirms each of them, or is named as
 * `missing` (gateway/operations/cluster).
 */
import { server } from '../../operations/caller.ts';
import { listConnections, listRooms } from '../../operations/cluster/lists.ts';
import { listNodes, stats } from '../../operations/cluster/nodes.ts';
import { disconnectConnection, disconnectUser, kickUser, subscribeUser } from '../../operations/cluster/users.ts';
import * as schemas from './cluster-schemas.ts';
import { noParams, noQuery } from './fields.ts';
import { done, type Route, route } from './route.ts';

/** Nothing to say, but `{}` is no mistake. */
const noBody = { schema: schemas.noBody, optional: true } as const;

export const clusterRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/api/rooms',
    name: 'rooms',
    summary: 'Lists the rooms with members, by name.',
    cluster: true,
    params: noParams,
    query: schemas.roomsQuery,
    answer: schemas.roomsAnswer,
    perform: async ({ query }, parts) => done(await listRooms(parts, server, query)),
  }),
  route({
    method: 'GET',
    path: '/api/connections',
    name: 'connections',
    summary: 'Lists connections, node by node, on each in the order in which they were opened.',
    cluster: true,
    params: noParams,
    query: schemas.connectionsQuery,
    answer: schemas.connectionsAnswer,
    perform: async ({ query }, parts) => done(await listConnections(parts, server, query)),
  }),
  route({
    method: 'POST',
    path: '/api/users/{user}/disconnect',
    name: 'disconnectUser',
    summary: 'Closes all connections of a user with 4503, and may block the user for a time.',
    cluster: true,
    params: schemas.userParams,
    query: noQuery,
    body: { schema: schemas.disconnectBody, optional: true },
    answer: schemas.disconnectedAnswer,
    perform: async ({ params: { user }, fields: { blockSeconds } }, parts) =>
      done(await disconnectUser(parts, server, { user, blockSeconds })),
  }),
  route({
    method: 'POST',
    path: '/api/connections/{id}/disconnect',
    name: 'disconnectConnection',
    summary: 'Closes one connection with 4503.',
    cluster: true,
    params: schemas.connectionParams,
    query: noQuery,
    body: noBody,
    answer: schemas.disconnectedAnswer,
    perform: async ({ params: { id } }, parts) => done(await disconnectConnection(parts, server, id)),
  }),
  route({
    method: 'POST',
    path: '/api/rooms/{room}/members/{user}',
    name: 'subscribeUser',
    summary: 'Makes all connections of a user members of a room, whatever the rights of the user.',
    cluster: true,
    params: schemas.roomMemberParams,
    query: noQuery,
    body: noBody,
    answer: schemas.subscribedAnswer,
    perform: async ({ params }, parts) => done(await subscribeUser(parts, server, params)),
  }),
  route({
    method: 'DELETE',
    path: '/api/rooms/{room}/members/{user}',
    name: 'removeUser',
    summary: 'Removes all connections of a user from a room.',
    cluster: true,
    params: schemas.roomMemberParams,
    query: noQuery,
    answer: schemas.removedAnswer,
    perform: async ({ params }, parts) => done(await kickUser(parts, server, params)),
  }),
  route({
    method: 'GET',
    path: '/api/nodes',
    name: 'nodes',
    summary: 'Describes the live nodes, by name.',
    cluster: true,
    params: noParams,
    query: schemas.nodesQuery,
    answer: schemas.nodesAnswer,
    perform: async ({ query }, parts) => done(await listNodes(parts, server, query)),
  }),
  route({
    method: 'GET',
    path: '/api/stats',
    name: 'stats',
    summary: 'Counts connections, users, rooms and messages of all nodes.',
    cluster: true,
    params: noParams,
    query: noQuery,
    answer: schemas.statsAnswer,
    perform: async (_, parts) => done(await stats(parts, server)),
  }),
];
