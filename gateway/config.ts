/**
 * Configuration: the one table of every GATEWAY_* setting, and how the environment becomes a Config.
 *
 * All mistakes are collected and reported at once. Every secret can also be given as `<name>_FILE`. Values of secrets
 * never appear in a mistake. Nothing else in the gateway reads process.env.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import { z } from 'zod';
import { type RoomRule, readRules } from './access.ts';
import { algorithmsOf, publicAlgorithms, readPublicKey, secretAlgorithms } from './keys.ts';

export const settingPrefix = 'GATEWAY_';

const integer = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `must be a whole number from ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, { error: `must be from ${least} to ${most}` });
/** For limits 0 means off. */
const limit = (most = 2 ** 40) => integer(0, most);
const milliseconds = (least: number, most = 86_400_000) => integer(least, most);
const flag = z.enum(['true', 'false'], { error: 'must be true or false' }).transform((value) => value === 'true');
const text = z.string();
const list = z.string().transform((value) =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean),
);
const publicKey = z.string().transform((value, context) => {
  try {
    return readPublicKey(value);
  } catch (error) {
    context.addIssue((error as TypeError).message);
    return z.NEVER;
  }
});
const url = (...schemes: string[]) =>
  z.string().refine((value) => URL.canParse(value) && schemes.includes(new URL(value).protocol), {
    error: `must be a URL that begins with ${schemes.map((scheme) => `${scheme}//`).join(' or ')}`,
  });

interface Setting<Value> {
  /** Without the prefix. */
  name: string;
  schema: z.ZodType<Value>;
  /** As it would be written in the environment; '' is not set, and then the value is undefined. */
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

/** The table. docs/configuration.md is checked against it. */
export const settings = {
  port: setting('PORT', integer(0, 65535), '8080', 'port', 'Public port; 0 takes a free one.'),
  host: optional('HOST', text, 'address', '0.0.0.0 in production, else 127.0.0.1.'),
  adminPort: setting('ADMIN_PORT', integer(0, 65535), '8081', 'port', 'Port of /metrics, /healthz and /readyz.'),
  adminHost: setting('ADMIN_HOST', text, '127.0.0.1', 'address', 'Never a public address.'),
  redisUrl: secret(
    'REDIS_URL',
    url('redis:', 'rediss:'),
    'URL',
    'Empty: memory backplane, one node. `redis://user:password@host:6379/0`; `rediss://` is TLS, `?ca=` its CA file.',
  ),
  redisPrefix: setting('REDIS_PREFIX', text.regex(/^[\w:.-]{1,64}$/), 'rc', 'text', 'Begins every key and channel.'),
  nodeId: optional('NODE_ID', text.regex(/^[\w.-]{1,64}$/), 'text', 'Name of this node; random when empty.'),
  jwtSecret: secret('JWT_SECRET', text, 'text', 'HS256 secret, at least 32 bytes.'),
  jwtPublicKey: secret('JWT_PUBLIC_KEY', publicKey, 'PEM or JWK', 'Public key of the token issuer.'),
  jwtJwksUrl: optional('JWT_JWKS_URL', url('http:', 'https:'), 'URL', "The issuer's JSON Web Key Set."),
  jwtAlgorithms: optional('JWT_ALGORITHMS', list, 'comma list', 'Allowed `alg`; empty: what the key can do.'),
  jwtIssuer: optional('JWT_ISSUER', text, 'text', 'Required `iss`.'),
  jwtAudience: optional('JWT_AUDIENCE', text, 'text', 'Required `aud`.'),
  authCookie: optional('AUTH_COOKIE', text.regex(/^[\w.-]{1,64}$/), 'cookie name', 'Cookie that may hold the token.'),
  authQuery: setting('AUTH_QUERY', flag, 'false', 'true, false', 'Accept `?token=`. URLs end up in logs.'),
  authTimeoutMs: setting('AUTH_TIMEOUT_MS', milliseconds(100), '10000', 'ms', 'A connection without a token: 4502.'),
  anonymous: setting('ANONYMOUS', flag, 'false', 'true, false', 'Welcome connections without a token.'),
  allowedOrigins: optional(
    'ALLOWED_ORIGINS',
    list,
    'comma list',
    'Origins of web pages, `https://app.example`; `*` any; empty: the same origin only.',
  ),
  roomsFile: optional('ROOMS_FILE', text, 'file', 'Room rules, JSON. Without it only tokens grant access.'),
  pingIntervalMs: setting(
    'PING_INTERVAL_MS',
    milliseconds(100, 600_000),
    '25000',
    'ms',
    'Time between WebSocket pings.',
  ),
  pongTimeoutMs: setting('PONG_TIMEOUT_MS', milliseconds(100, 300_000), '10000', 'ms', 'No pong for this long: 4004.'),
  clientTimeoutMs: setting(
    'CLIENT_TIMEOUT_MS',
    milliseconds(0),
    '150000',
    'ms',
    'A client that sends `ping` frames is silent for this long: 4004. 0: off.',
  ),
  maxMessageBytes: setting('MAX_MESSAGE_BYTES', integer(256, 2 ** 24), '65536', 'bytes', 'Largest frame of a client.'),
  maxBufferedBytes: setting(
    'MAX_BUFFERED_BYTES',
    limit(2 ** 30),
    '1048576',
    'bytes',
    'Outgoing buffer of a connection, hard limit; slow rules begin at half. At least MAX_MESSAGE_BYTES; better 8 times.',
  ),
  maxBufferedTotalBytes: setting(
    'MAX_BUFFERED_TOTAL_BYTES',
    limit(),
    '268435456',
    'bytes',
    'All outgoing buffers together; above it the fullest connections are closed with 4003.',
  ),
  maxConnections: optional(
    'MAX_CONNECTIONS',
    limit(10_000_000),
    'connections',
    'Of this node; empty: from the file descriptor limit. Full: HTTP 503.',
  ),
  maxConnectionsPerUser: setting(
    'MAX_CONNECTIONS_PER_USER',
    limit(1_000_000),
    '20',
    'connections',
    'Of one user on this node; one more closes the oldest with 4506.',
  ),
  maxConnectionsPerIp: setting(
    'MAX_CONNECTIONS_PER_IP',
    limit(10_000_000),
    '0',
    'connections',
    'Of one client address on this node; over it: HTTP 429.',
  ),
  maxRoomsPerConnection: setting('MAX_ROOMS_PER_CONNECTION', limit(1_000_000), '128', 'rooms', 'Over it: an error.'),
  publishRate: setting('PUBLISH_RATE', limit(1_000_000), '50', 'messages/s', 'Of one connection.'),
  publishBurst: setting('PUBLISH_BURST', integer(1, 10_000_000), '100', 'messages', 'May be published at once.'),
  requestRate: setting('REQUEST_RATE', limit(1_000_000), '100', 'frames/s', 'All other frames; twice as many at once.'),
  dedupeMs: setting('DEDUPE_MS', milliseconds(1000), '120000', 'ms', 'How long a `key` is remembered.'),
  trustedProxies: optional(
    'TRUSTED_PROXIES',
    list,
    'comma list',
    'Addresses or CIDR ranges whose X-Forwarded-For (or PROXY v2 header) is believed.',
  ),
  logLevel: setting(
    'LOG_LEVEL',
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    'info',
    'level',
    'trace, debug, info, warn, error, fatal or silent.',
  ),
  tlsCertFile: optional('TLS_CERT_FILE', text, 'file', 'Certificate chain, PEM. With TLS_KEY_FILE: TLS at the node.'),
  tlsKeyFile: optional('TLS_KEY_FILE', text, 'file', 'Private key, PEM.'),
} satisfies Record<string, Setting<unknown>>;

type Settings = {
  [Key in keyof typeof settings]: (typeof settings)[Key] extends Setting<infer Value> ? Value : never;
};

/** Names of the contract for features that this version does not have: when set, they only cause a warning. */
const laterSettings = new Set(['API_KEY', 'DRAIN_NOTICE_MS', 'DRAIN_MS', 'FLUSH_MS']);

export interface Config extends Omit<Settings, 'roomsFile' | 'trustedProxies'> {
  host: string;
  nodeId: string;
  maxConnections: number;
  rules: RoomRule[];
  trustedProxies: BlockList;
  /** True in development without a key: the secret was made for this run, and the demo page hands out tokens. */
  demo: boolean;
  /** Sentences for the log. */
  warnings: string[];
}

export type Environment = Record<string, string | undefined>;

/** Holds every mistake in the configuration, one sentence each. */
export class ConfigError extends Error {
  readonly mistakes: string[];

  constructor(mistakes: string[]) {
    super(`The configuration has ${mistakes.length} mistake(s):\n${mistakes.map((line) => `  - ${line}`).join('\n')}`);
    this.name = 'ConfigError';
    this.mistakes = mistakes;
  }
}

/**
 * Reads the configuration from an environment.
 * Throws a ConfigError with all mistakes at once; reads the files that settings name.
 */
export function readConfig(env: Environment): Config {
  const mistakes: string[] = [];
  const warnings = checkNames(env, mistakes);
  const values = readSettings(env, mistakes);
  const rules = values.roomsFile === undefined ? [] : readRoomsFile(values.roomsFile, mistakes);
  const trustedProxies = readProxies(values.trustedProxies ?? [], mistakes);
  const inProduction = env.NODE_ENV === 'production';
  const demo = checkKeys(values, inProduction, mistakes);
  checkTogether(values, mistakes);
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return {
    ...values,
    host: values.host ?? (inProduction ? '0.0.0.0' : '127.0.0.1'),
    nodeId: values.nodeId ?? randomBytes(6).toString('hex'),
    jwtSecret: demo ? randomBytes(32).toString('hex') : values.jwtSecret,
    maxConnections: values.maxConnections ?? connectionsFromDescriptors(),
    rules,
    trustedProxies,
    demo,
    warnings,
  };
}

/** Collects unknown GATEWAY_* names as mistakes; returns warnings about those that are ignored. */
function checkNames(env: Environment, mistakes: string[]): string[] {
  const known = new Set(
    Object.values(settings).flatMap((each) => (each.secret ? [each.name, `${each.name}_FILE`] : [each.name])),
  );
  const warnings: string[] = [];
  for (const variable of Object.keys(env)) {
    if (!variable.startsWith(settingPrefix)) continue;
    const name = variable.slice(settingPrefix.length);
    if (isServiceLink(name, env[variable] ?? '')) {
      warnings.push(`${variable} looks like a Kubernetes service link and is ignored (enableServiceLinks: false).`);
    } else if (laterSettings.has(name.replace(/_FILE$/, ''))) {
      warnings.push(`${variable} has no effect: this version does not have that feature yet.`);
    } else if (!known.has(name)) {
      mistakes.push(`${variable} is not a setting; docs/configuration.md lists them all.`);
    }
  }
  return warnings;
}

/** Kubernetes puts GATEWAY_SERVICE_HOST and the like into every pod beside a service named `gateway`. */
function isServiceLink(name: string, value: string): boolean {
  return name.startsWith('SERVICE_') || /^PORT_\d+_/.test(name) || (name === 'PORT' && value.startsWith('tcp://'));
}

function readSettings(env: Environment, mistakes: string[]): Settings {
  const values: Record<string, unknown> = {};
  for (const [key, each] of Object.entries<Setting<unknown>>(settings)) {
    const variable = settingPrefix + each.name;
    const raw = readRaw(env, each, mistakes) || each.default;
    if (raw === '' || isServiceLink(each.name, raw)) {
      values[key] = raw === '' ? undefined : each.schema.parse(each.default);
      continue;
    }
    const result = each.schema.safeParse(raw);
    if (result.success) values[key] = result.data;
    else mistakes.push(`${variable} ${result.error.issues[0]?.message}${each.secret ? '' : `, not "${raw}"`}.`);
  }
  return values as Settings;
}

function readRaw(env: Environment, each: Setting<unknown>, mistakes: string[]): string {
  const variable = settingPrefix + each.name;
  const value = env[variable] ?? '';
  const file = each.secret ? (env[`${variable}_FILE`] ?? '') : '';
  if (file === '') return value;
  if (value !== '') mistakes.push(`${variable} and ${variable}_FILE are both set; keep one.`);
  return readText(file, `${variable}_FILE`, mistakes)?.trim() ?? '';
}

function readText(file: string, variable: string, mistakes: string[]): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    mistakes.push(`${variable} names a file that cannot be read: ${(error as Error).message}.`);
    return undefined;
  }
}

function readRoomsFile(file: string, mistakes: string[]): RoomRule[] {
  const variable = `${settingPrefix}ROOMS_FILE`;
  const content = readText(file, variable, mistakes);
  if (content === undefined) return [];
  try {
    const result = readRules(JSON.parse(content));
    if ('rules' in result) return result.rules;
    mistakes.push(...result.mistakes.map((mistake) => `${variable} ${file}: ${mistake}.`));
  } catch (error) {
    mistakes.push(`${variable} ${file} is not JSON: ${(error as Error).message}.`);
  }
  return [];
}

function readProxies(entries: string[], mistakes: string[]): BlockList {
  const proxies = new BlockList();
  for (const entry of entries) {
    const [address = '', bits] = entry.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    const most = family === 'ipv6' ? 128 : 32;
    if (isIP(address) === 0 || (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= most))) {
      mistakes.push(`${settingPrefix}TRUSTED_PROXIES holds "${entry}", which is neither an address nor a CIDR range.`);
    } else proxies.addSubnet(address, bits === undefined ? most : Number(bits), family);
  }
  return proxies;
}

/** Checks that there is one way to verify tokens. Returns true when a secret is to be made for this run. */
function checkKeys(values: Settings, inProduction: boolean, mistakes: string[]): boolean {
  const ways = 'GATEWAY_JWT_SECRET (or GATEWAY_JWT_SECRET_FILE), GATEWAY_JWT_PUBLIC_KEY or GATEWAY_JWT_JWKS_URL';
  const given = [values.jwtSecret, values.jwtPublicKey, values.jwtJwksUrl].filter((value) => value !== undefined);
  if (given.length > 1) mistakes.push(`More than one way to verify tokens is set; keep one of ${ways}.`);
  if (values.jwtSecret !== undefined && Buffer.byteLength(values.jwtSecret) < 32) {
    mistakes.push('GATEWAY_JWT_SECRET must have at least 32 bytes (RFC 7518 section 3.2); try: openssl rand -hex 32.');
  }
  const possible = values.jwtPublicKey
    ? algorithmsOf(values.jwtPublicKey)
    : values.jwtJwksUrl
      ? publicAlgorithms
      : secretAlgorithms;
  for (const algorithm of values.jwtAlgorithms ?? []) {
    if (possible.includes(algorithm)) continue;
    mistakes.push(`GATEWAY_JWT_ALGORITHMS holds "${algorithm}"; the key can do only ${possible.join(', ')}.`);
  }
  if (given.length === 0 && inProduction) mistakes.push(`In production tokens need a key: set ${ways}.`);
  return given.length === 0 && !inProduction;
}

/** Mistakes that show only between settings. */
function checkTogether(values: Settings, mistakes: string[]): void {
  if ((values.tlsCertFile === undefined) !== (values.tlsKeyFile === undefined)) {
    mistakes.push('GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE go together; set both or none.');
  }
  if (values.tlsCertFile !== undefined && values.tlsKeyFile !== undefined) {
    const cert = readText(values.tlsCertFile, 'GATEWAY_TLS_CERT_FILE', mistakes);
    const key = readText(values.tlsKeyFile, 'GATEWAY_TLS_KEY_FILE', mistakes);
    if (cert !== undefined && key !== undefined) checkCertificate(cert, key, mistakes);
  }
  if (values.maxBufferedBytes > 0 && values.maxBufferedBytes < values.maxMessageBytes) {
    mistakes.push('GATEWAY_MAX_BUFFERED_BYTES must be at least GATEWAY_MAX_MESSAGE_BYTES, or 0 for off.');
  }
  if (values.allowedOrigins?.includes('*') && values.authCookie !== undefined) {
    mistakes.push(
      'GATEWAY_ALLOWED_ORIGINS cannot be * with GATEWAY_AUTH_COOKIE: any web page could act for its visitor.',
    );
  }
}

function checkCertificate(cert: string, key: string, mistakes: string[]): void {
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    mistakes.push(`GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE cannot be used: ${(error as Error).message}.`);
  }
}

/** Descriptors kept for Redis, the admin port, files and connections that are being refused. */
const reservedDescriptors = 512;

/** What the limit of open files leaves for clients (Node raises its soft limit to the hard one when it starts). */
function connectionsFromDescriptors(): number {
  const report = process.report.getReport() as { userLimits?: { open_files?: { soft?: number | string } } };
  const soft = Number(report.userLimits?.open_files?.soft);
  return Number.isFinite(soft) ? Math.max(64, soft - reservedDescriptors) : 100_000;
}
