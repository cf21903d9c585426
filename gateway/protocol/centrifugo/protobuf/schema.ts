/**
 * The messages of the protocol in Protobuf: the number and the kind of each field that is read or written, from the public
 * schema (github.com/centrifugal/protocol, client.proto). Its other fields are skipped when they come.
 */

/**
 * `integer`: of any width, as a varint (https://protobuf.dev/programming-guides/encoding). `payload`: bytes; in JSON the text
 * of a value. `base64`: bytes that have no such form; in JSON a string. `sent`: a payload that is empty where it does not come. `present`: a message whose fields do not matter.
 */
export type Kind = 'integer' | 'bool' | 'string' | 'payload' | 'sent' | 'base64' | 'present' | Schema | ListOf | MapOf;

/** By the name that the field has in JSON. */
export type Schema = ReadonlyMap<string, readonly [number: number, kind: Kind]>;

/** Repeated. */
export class ListOf {
  readonly schema: Schema;

  constructor(schema: Schema) {
    this.schema = schema;
  }
}

/** A map from strings: each entry is a message with its key as 1 and its value as 2. */
export class MapOf {
  readonly schema: Schema;

  constructor(schema: Schema) {
    this.schema = schema;
  }
}

function message(fields: Record<string, [number: number, kind: Kind]>): Schema {
  return new Map(Object.entries(fields));
}

const nothing = message({});
const channel = message({ channel: [1, 'string'] });
const data = message({ data: [1, 'payload'] });
const expiry = message({ expires: [1, 'bool'], ttl: [2, 'integer'] });

const subscribe = message({
  ...{
    channel: [1, 'string'],
    token: [2, 'string'],
    recover: [3, 'bool'],
    epoch: [6, 'string'],
    offset: [7, 'integer'],
  },
  ...{ data: [8, 'payload'], positioned: [9, 'bool'], recoverable: [10, 'bool'], join_leave: [11, 'bool'] },
  ...{ delta: [12, 'string'], tf: [13, 'present'], flag: [14, 'integer'], type: [15, 'integer'] },
});

/** What a client sends. */
export const command = message({
  id: [1, 'integer'],
  connect: [
    4,
    message({
      ...{ token: [1, 'string'], data: [2, 'payload'], subs: [3, new MapOf(subscribe)], name: [4, 'string'] },
      version: [5, 'string'],
    }),
  ],
  subscribe: [5, subscribe],
  unsubscribe: [6, channel],
  publish: [7, message({ channel: [1, 'string'], data: [2, 'sent'], type: [3, 'integer'] })],
  presence: [8, channel],
  presence_stats: [9, channel],
  history: [
    10,
    message({
      ...{ channel: [1, 'string'], limit: [7, 'integer'], reverse: [9, 'bool'] },
      since: [8, message({ offset: [1, 'integer'], epoch: [2, 'string'] })],
    }),
  ],
  ping: [11, nothing],
  send: [12, message({ data: [1, 'sent'] })],
  rpc: [13, message({ data: [1, 'sent'], method: [2, 'string'] })],
  refresh: [14, message({ token: [1, 'string'] })],
  sub_refresh: [15, message({ channel: [1, 'string'], token: [2, 'string'], type: [5, 'integer'] })],
});

const clientInfo = message({
  ...{ user: [1, 'string'], client: [2, 'string'], conn_info: [3, 'payload'], chan_info: [4, 'payload'] },
});

const publication = message({
  ...{ data: [4, 'payload'], info: [5, clientInfo], offset: [6, 'integer'], time: [9, 'integer'] },
});

const subscribed = message({
  ...{ expires: [1, 'bool'], ttl: [2, 'integer'], recoverable: [3, 'bool'], epoch: [6, 'string'] },
  ...{ publications: [7, new ListOf(publication)], recovered: [8, 'bool'], offset: [9, 'integer'] },
  ...{ positioned: [10, 'bool'], data: [11, 'payload'], was_recovering: [12, 'bool'] },
});

const coded = { code: [2, 'integer'], reason: [3, 'string'] } satisfies Record<string, [number, Kind]>;

const push = message({
  channel: [2, 'string'],
  pub: [4, publication],
  join: [5, message({ info: [1, clientInfo] })],
  leave: [6, message({ info: [1, clientInfo] })],
  unsubscribe: [7, message(coded)],
  message: [8, data],
  subscribe: [
    9,
    message({
      ...{ recoverable: [1, 'bool'], epoch: [4, 'string'], offset: [5, 'integer'], positioned: [6, 'bool'] },
      data: [7, 'payload'],
    }),
  ],
  disconnect: [11, message({ code: [1, 'integer'], reason: [2, 'string'], reconnect: [3, 'bool'] })],
});

/** What a client is told. */
export const reply = message({
  id: [1, 'integer'],
  error: [2, message({ code: [1, 'integer'], message: [2, 'string'], temporary: [3, 'bool'] })],
  push: [4, push],
  connect: [
    5,
    message({
      ...{ client: [1, 'string'], version: [2, 'string'], expires: [3, 'bool'], ttl: [4, 'integer'] },
      ...{ data: [5, 'payload'], subs: [6, new MapOf(subscribed)], ping: [7, 'integer'], pong: [8, 'bool'] },
      ...{ session: [9, 'string'], node: [10, 'string'], time: [11, 'integer'] },
    }),
  ],
  subscribe: [6, subscribed],
  unsubscribe: [7, nothing],
  publish: [8, nothing],
  presence: [9, message({ presence: [1, new MapOf(clientInfo)] })],
  presence_stats: [10, message({ num_clients: [1, 'integer'], num_users: [2, 'integer'] })],
  history: [11, message({ publications: [1, new ListOf(publication)], epoch: [2, 'string'], offset: [3, 'integer'] })],
  rpc: [13, data],
  refresh: [14, message({ client: [1, 'string'], version: [2, 'string'], expires: [3, 'bool'], ttl: [4, 'integer'] })],
  sub_refresh: [15, expiry],
});

/** What carries a command to the session of a client that cannot send on its connection. */
export const emulation = message({ node: [1, 'string'], session: [2, 'string'], data: [3, 'base64'] });
