/**
 * The table of all GATEWAY_* settings: name, schema, default, unit, meaning.
 *
 * A test keeps docs/configuration.md equal to it. gateway/config.ts checks settings against each other.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { isUrlOf } from '../shared/url.ts';
import { readApiKeys } from './auth/api-keys.ts';
import { readPublicKey } from './auth/keys.ts';
import { readSecrets } from './auth/signature.ts';
import { addressOf } from './redis/connection/address.ts';
import { readEventTypes, usualEventTypes } from './webhooks/event-types.ts';
import { readReceiverUrl } from './webhooks/receiver.ts';

export const settingPrefix = 'GATEWAY_';

const integer = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `must be a whole number from ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, { error: `must be from ${least} to ${most}` });
/** 0 turns a limit off. */
const limit = (most = 2 ** 40) => integer(0, most);
const milliseconds = (least: number, most = 86_400_000) => integer(least, most);
const flag = z.enum(['true', 'false'], { error: 'must be true or false' }).transform((value) => value === 'true');
const text = z.string();
/** Also takes an IPv6 address in brackets, as in a URL. */
const host = z
  .string()
  .transform((value) => value.replace(/^\[([\da-f:.]+)\]$/i, '$1'))
  .refine((value) => isIP(value) !== 0 || /^[\w.-]{1,253}$/.test(value), {
    error: 'must be an address or a host name of this machine, without a port; 0.0.0.0 or :: stands for all addresses',
  });
const list = z.string().transform((value) =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean),
);
/** `read` throws a TypeError; its message becomes the mistake. */
const readBy = <Value>(read: (text: string) => Value) =>
  z.string().transform((value, context) => {
    try {
      return read(value);
    } catch (error) {
      context.addIssue((error as TypeError).message);
      return z.NEVER;
    }
  });
/** Refuses a list without entries: it would silently mean "none". */
const listOf = (what: string) => list.refine((entries) => entries.length > 0, `must name ${what}`);
const url = (...schemes: string[]) =>
  z.string().refine((value) => isUrlOf(value, ...schemes), {
    error: `must be a URL that begins with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}, and a host`,
  });

export interface Setting<Value> {
  /** Without the prefix. */
  name: string;
  schema: z.ZodType<Value>;
  /** Written as in the environment. '': no default; an unset setting is then undefined. */
  default: string;
  unit: string;
  meaning: string;
  secret: boolean;
}

type About = [unit: string, meaning: string];

function setting<Value>(name: string, schema: z.ZodType<Value>, byDefault: string, ...about: About): Setting<Value> {
  return { name, schema, default: byDefault, unit: about[0], meaning: about[1], secret: false };
}

function optional<Value>(name: string, schema: z.ZodType<Value>, ...about: About): Setting<Value | undefined> {
  return { name, schema, default: '', unit: about[0], meaning: about[1], secret: false };
}

function secret<Value>(name: string, schema: z.ZodType<Value>, ...about: About): Setting<Value | undefined> {
  return { name, schema, default: '', unit: about[0], meaning: about[1], secret: true };
}

export const settings = {
  port: setting('PORT', integer(0, 65535), '8080', 'port', 'Public port; 0 takes a free one.'),
  host: optional('HOST', host, 'address or name', '0.0.0.0 in production, else 127.0.0.1.'),
  adminPort: setting('ADMIN_PORT', integer(0, 65535), '8081', 'port', 'Port of /metrics, /healthz, /readyz and /api.'),
  adminHost: setting('ADMIN_HOST', host, '127.0.0.1', 'address or name', 'Never a public address.'),
  apiKeys: secret(
    'API_KEY',
    readBy(readApiKeys),
    'comma list',
    'Keys of the HTTP API and the dashboard on the admin port, at least 16 characters each. Empty: neither.',
  ),
  redisUrl: secret(
    'REDIS_URL',
    readBy(addressOf),
    'URL',
    'None: memory backplane, one node. `redis://user:password@host:6379/0`, or one of the forms [below](#the-address-of-redis).',
  ),
  redisUsername: optional('REDIS_USERNAME', text, 'text', 'User of the Redis ACL, instead of one in the URL.'),
  redisPassword: secret('REDIS_PASSWORD', text, 'text', 'Password, not URL-encoded, instead of one in the URL.'),
  redisSentinelUsername: optional(
    'REDIS_SENTINEL_USERNAME',
    text,
    'text',
    'User at the sentinels; that of Redis is another.',
  ),
  redisSentinelPassword: secret(
    'REDIS_SENTINEL_PASSWORD',
    text,
    'text',
    'Password at the sentinels, if they ask for one.',
  ),
  redisPrefix: setting('REDIS_PREFIX', text.regex(/^[\w:.-]{1,64}$/), 'rc', 'text', 'Prefix of every key and channel.'),
  nodeId: optional('NODE_ID', text.regex(/^[\w.-]{1,64}$/), 'text', 'Name of this node; random when empty.'),
  jwtSecret: secret('JWT_SECRET', text, 'text', 'HS256 secret, at least 32 bytes.'),
  jwtPublicKey: secret('JWT_PUBLIC_KEY', readBy(readPublicKey), 'PEM or JWK', 'Public key of the token issuer.'),
  jwtJwksUrl: secret(
    'JWT_JWKS_URL',
    url('http', 'https'),
    'URL',
    "The issuer's JSON Web Key Set. `https://user:password@host` is sent as basic authentication.",
  ),
  jwtAlgorithms: optional(
    'JWT_ALGORITHMS',
    listOf('an algorithm'),
    'comma list',
    'Allowed `alg`. Empty: all that fit the key.',
  ),
  jwtIssuer: optional('JWT_ISSUER', text, 'text', 'Required `iss`.'),
  jwtAudience: optional('JWT_AUDIENCE', listOf('an audience'), 'comma list', 'Required `aud`: one of the list.'),
  authCookie: optional('AUTH_COOKIE', text.regex(/^[\w.-]{1,64}$/), 'cookie name', 'Cookie that may hold the token.'),
  authQuery: setting('AUTH_QUERY', flag, 'false', 'true, false', 'Accept `?token=`. URLs end up in logs.'),
  authTimeoutMs: setting(
    'AUTH_TIMEOUT_MS',
    milliseconds(100),
    '10000',
    'ms',
    'Time for a connection to send its token; then 4502.',
  ),
  authUrl: secret(
    'AUTH_URL',
    url('http', 'https'),
    'URL',
    'Asked where a rule says `callback`. `https://user:password@host` is sent as basic authentication.',
  ),
  authSecrets: secret(
    'AUTH_SECRET',
    readBy(readSecrets),
    'comma list',
    'Signs the questions to AUTH_URL: `whsec_` and base64, as Standard Webhooks has it. Of several, each signs. Empty: not signed.',
  ),
  authConnect: setting(
    'AUTH_CONNECT',
    flag,
    'false',
    'true, false',
    'Ask AUTH_URL before each connection is welcomed.',
  ),
  rpcUrl: secret('RPC_URL', url('http', 'https'), 'URL', 'Takes `rpc` and `send` of clients (docs/rpc.md).'),
  rpcSecrets: secret('RPC_SECRET', readBy(readSecrets), 'comma list', 'Signs calls to RPC_URL, like AUTH_SECRET.'),
  anonymous: setting('ANONYMOUS', flag, 'false', 'true, false', 'Welcome connections without a token.'),
  centrifugo: setting(
    'CENTRIFUGO',
    flag,
    'false',
    'true, false',
    'Serve SDKs of Centrifugo at `/connection/…` and `/emulation` (docs/centrifugo.md).',
  ),
  insecure: setting('INSECURE', flag, 'false', 'true, false', 'For test suites only: everybody may do everything.'),
  allowedOrigins: optional(
    'ALLOWED_ORIGINS',
    listOf('an origin'),
    'comma list',
    'Origins of web pages: `https://app.example`, `https://*.example.org`, `*` any. Empty: the same origin only.',
  ),
  roomsFile: optional(
    'ROOMS_FILE',
    text,
    'file',
    'Room rules, JSON; read again when it changes. Without it only tokens grant access.',
  ),
  inputsFile: optional('INPUTS_FILE', text, 'file', 'Streams and queues to publish from, JSON (docs/inputs.md).'),
  pingIntervalMs: setting(
    'PING_INTERVAL_MS',
    milliseconds(100, 600_000),
    '25000',
    'ms',
    'Time from one WebSocket ping to the next.',
  ),
  pongTimeoutMs: setting(
    'PONG_TIMEOUT_MS',
    milliseconds(100, 300_000),
    '10000',
    'ms',
    'Time for the pong to a ping; then 4004.',
  ),
  clientTimeoutMs: setting(
    'CLIENT_TIMEOUT_MS',
    milliseconds(0),
    '150000',
    'ms',
    'Longest silence of a client that sends `ping` frames; then 4004. 0: off.',
  ),
  maxMessageBytes: setting('MAX_MESSAGE_BYTES', integer(256, 2 ** 24), '65536', 'bytes', 'Largest frame of a client.'),
  maxBufferedBytes: setting(
    'MAX_BUFFERED_BYTES',
    limit(2 ** 30),
    '1048576',
    'bytes',
    'Hard limit of the outgoing buffer of a connection; slow rules start at half. At least MAX_MESSAGE_BYTES; 8 times is better.',
  ),
  maxBufferedTotalBytes: setting(
    'MAX_BUFFERED_TOTAL_BYTES',
    limit(),
    '268435456',
    'bytes',
    'Limit of all outgoing buffers together; above it the fullest connections are closed with 4003.',
  ),
  compression: setting(
    'COMPRESSION',
    z.enum(['off', 'shared'], { error: 'must be off or shared' }),
    'off',
    'mode',
    'Compression of WebSocket messages (permessage-deflate). shared: messages of 512 bytes and more; fewer bytes, more CPU.',
  ),
  maxConnections: optional(
    'MAX_CONNECTIONS',
    limit(10_000_000),
    'connections',
    'Connections of this node; one more gets HTTP 503. Empty: what the limit of open files leaves.',
  ),
  maxConnectionsPerUser: setting(
    'MAX_CONNECTIONS_PER_USER',
    limit(1_000_000),
    '20',
    'connections',
    'Connections of one user on this node; one more closes the oldest with 4506.',
  ),
  maxConnectionsPerIp: setting(
    'MAX_CONNECTIONS_PER_IP',
    limit(10_000_000),
    '0',
    'connections',
    'Connections of one client address, or IPv6 /64, on this node; one more gets HTTP 429.',
  ),
  maxRoomsPerConnection: setting(
    'MAX_ROOMS_PER_CONNECTION',
    limit(1_000_000),
    '128',
    'rooms',
    'Rooms of one connection; one more gets an error.',
  ),
  publishRate: setting(
    'PUBLISH_RATE',
    limit(1_000_000),
    '50',
    'messages/s',
    'Publishes of one connection, and by POST of one user.',
  ),
  publishBurst: setting(
    'PUBLISH_BURST',
    integer(1, 10_000_000),
    '100',
    'messages',
    'Publishes of one connection at once, and by POST of one user.',
  ),
  requestRate: setting(
    'REQUEST_RATE',
    limit(1_000_000),
    '100',
    'frames/s',
    'All other frames of one connection, and polls of one user. At once: this many more, or three for each room that it may have.',
  ),
  dedupeMs: setting('DEDUPE_MS', milliseconds(1000), '120000', 'ms', 'How long a `key` is remembered.'),
  ack: setting(
    'ACK',
    z.enum(['stored', 'replicated'], { error: 'must be stored or replicated' }),
    'stored',
    'level',
    'When a publish gets `ok`: Redis has it (stored), or one replica has it too (replicated, by WAIT).',
  ),
  flushMs: setting(
    'FLUSH_MS',
    milliseconds(0, 1_000),
    '0',
    'ms',
    'A busy room batches its messages for this long: fewer writes, more latency. 0: no batching.',
  ),
  drainNoticeMs: optional(
    'DRAIN_NOTICE_MS',
    milliseconds(0, 600_000),
    'ms',
    'After SIGTERM: time for load balancers to notice, before clients are asked to move. 3000 in production, else 0.',
  ),
  drainMs: optional(
    'DRAIN_MS',
    milliseconds(0, 3_600_000),
    'ms',
    'Time over which clients are moved, then closed. 15000 in production, else 0: all are closed at once.',
  ),
  webhookUrl: secret(
    'WEBHOOK_URL',
    readBy(readReceiverUrl),
    'URL',
    'Where events are posted. `https://user:password@host/path` is sent as basic authentication. Empty: no webhooks.',
  ),
  webhookSecrets: secret(
    'WEBHOOK_SECRET',
    readBy(readSecrets),
    'comma list',
    'Signs them: `whsec_` and base64, as Standard Webhooks has it. Of several, each signs.',
  ),
  webhookEvents: setting(
    'WEBHOOK_EVENTS',
    readBy(readEventTypes),
    usualEventTypes.join(','),
    'comma list',
    'Which events. Also: connection.opened, connection.closed.',
  ),
  trustedProxies: optional(
    'TRUSTED_PROXIES',
    listOf('a proxy'),
    'comma list',
    'Addresses or CIDR ranges whose X-Forwarded-For (or PROXY v2 header) is trusted.',
  ),
  logLevel: setting(
    'LOG_LEVEL',
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    'info',
    'level',
    'trace, debug, info, warn, error, fatal or silent.',
  ),
  tlsCertFile: optional(
    'TLS_CERT_FILE',
    text,
    'file',
    'Certificate chain, PEM; read again when it changes. With TLS_KEY_FILE: TLS at the node.',
  ),
  tlsKeyFile: optional('TLS_KEY_FILE', text, 'file', 'Private key, PEM.'),
} satisfies Record<string, Setting<unknown>>;

export type Settings = {
  [Key in keyof typeof settings]: (typeof settings)[Key] extends Setting<infer Value> ? Value : never;
};
