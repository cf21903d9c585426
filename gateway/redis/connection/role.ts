/** What the connections of a node to Redis are for. */

/** What a connection is for. Part of its name in CLIENT LIST, and `role` in log lines. */
export type RedisRole = 'pubsub' | 'history' | 'presence' | 'webhooks' | 'inputs';

/** Logged with a command that Redis refuses. */
export const purposes: Record<RedisRole, string> = {
  pubsub: 'subscribing, and publishing to plain rooms',
  history: 'keeping and reading messages of rooms with history',
  presence: 'keeping who is in which room, and which nodes live',
  webhooks: 'taking events out for the webhook',
  inputs: 'reading a stream of GATEWAY_INPUTS_FILE',
};
