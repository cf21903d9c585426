/**
 * Configuration: turns the environment into a Config.
 *
 * The table of settings is gateway/settings.ts, and gateway/environment.ts reads each. All mistakes are collected and
 * reported at once; none contains the value of a secret. Nothing else in a node reads process.env.
 */
import { randomBytes } from 'node:crypto';
import { BlockList, isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import { algorithmsOf, publicAlgorithms, secretAlgorithms } from './auth/keys.ts';
import { type Environment, given, isGiven, readSettings, readText } from './environment.ts';
import { connectionsWithin, descriptorLimit, fewestDescriptors } from './http/descriptors.ts';
import { readOrigin } from './http/origin.ts';
import { type InputSettings, readInputsFile } from './inputs/inputs-file.ts';
import type { RedisAddress } from './redis/connection/address.ts';
import { type RoomRule, readRules } from './rooms/access.ts';
import { checkNames } from './setting-names.ts';
import { type Setting, type Settings, settingPrefix, settings } from './settings.ts';

export type { Environment } from './environment.ts';

/** Rules named in one mistake. */
const mostNamed = 10;
/** Bound on connections where open files have no limit. */
const connectionsWithoutLimit = 100_000;

type Raw = 'redisUrl' | `redis${'' | 'Sentinel'}${'Username' | 'Password'}` | 'trustedProxies';

export interface Config extends Omit<Settings, Raw> {
  host: string;
  nodeId: string;
  drainNoticeMs: number;
  drainMs: number;
  maxConnections: number;
  /** Undefined: the memory backplane. */
  redis: RedisAddress | undefined;
  rules: RoomRule[];
  /** Empty without GATEWAY_INPUTS_FILE. */
  inputs: InputSettings[];
  trustedProxies: BlockList;
  inProduction: boolean;
  /** True in development without a key: the secret was made for this run, and the demo page hands out tokens. */
  demo: boolean;
  /** Sentences for the log. */
  warnings: string[];
}

/** What running without Redis means, for the log and /readyz. */
export const alone = 'alone: without GATEWAY_REDIS_URL this node reaches no other node, and a restart loses everything';

/** Holds every mistake in the configuration, one sentence each. */
export class ConfigError extends Error {
  readonly mistakes: string[];

  constructor(mistakes: string[]) {
    super(`The configuration has ${mistakes.length} mistake(s):\n${mistakes.map((line) => `  - ${line}`).join('\n')}`);
    this.name = 'ConfigError';
    this.mistakes = mistakes;
  }
}

/** A configuration with its mistakes; `config` is there only without any. */
export interface Inspected {
  config: Config | undefined;
  mistakes: string[];
  /** Sentences for the log. */
  warnings: string[];
  /** The defaults that depend on the process: production or not, the limit of open files. */
  defaults: Pick<Config, 'host' | 'drainNoticeMs' | 'drainMs' | 'maxConnections'>;
}

/**
 * Reads the configuration from an environment.
 * Throws a ConfigError with all mistakes at once; reads the files that settings name.
 */
export function readConfig(env: Environment): Config {
  const { config, mistakes } = inspectConfig(env);
  if (config === undefined) throw new ConfigError(mistakes);
  return config;
}

/** As `readConfig`, but returns the mistakes. */
export function inspectConfig(env: Environment): Inspected {
  const mistakes: string[] = [];
  const warnings = checkNames(env, mistakes);
  const values = readSettings(env, mistakes);
  const rules = values.roomsFile === undefined ? [] : readRoomsFile(values.roomsFile, asksBackend(env), mistakes);
  const allowedOrigins = readOrigins(values.allowedOrigins, mistakes);
  const trustedProxies = readProxies(values.trustedProxies ?? [], mistakes);
  const inProduction = given(env, 'NODE_ENV') === 'production';
  const demo = checkKeys(env, values, inProduction, mistakes);
  const redis = readRedis(env, values, mistakes);
  const inputs = values.inputsFile === undefined ? [] : readInputsFile(values.inputsFile, redis, mistakes);
  checkWebhook(env, mistakes);
  checkTogether(env, values, mistakes);
  const defaults = {
    host: inProduction ? '0.0.0.0' : '127.0.0.1',
    // Development: usually no other node to move to, and a developer waits for the program to end.
    drainNoticeMs: inProduction ? 3_000 : 0,
    drainMs: inProduction ? 15_000 : 0,
    maxConnections: checkConnections(values, mistakes),
  };
  const host = values.host ?? defaults.host;
  checkPorts({ ...values, host }, mistakes);
  if (given(env, 'GATEWAY_JWT_SECRET') !== (env.GATEWAY_JWT_SECRET ?? '')) {
    warnings.push(
      'GATEWAY_JWT_SECRET is taken without the white space around it; tokens must be signed without it too.',
    );
  }
  if (inProduction && values.insecure) mistakes.push('GATEWAY_INSECURE=true is not for production; remove it.');
  if (values.insecure) warnings.push('THIS NODE IS INSECURE: everybody may do everything.');
  if (inProduction && redis === undefined) warnings.push(`THIS NODE IS ${alone}.`);
  if (mistakes.length > 0) return { config: undefined, mistakes, warnings, defaults };
  const config = {
    ...values,
    host,
    nodeId: values.nodeId ?? randomBytes(6).toString('hex'),
    drainNoticeMs: values.drainNoticeMs ?? defaults.drainNoticeMs,
    drainMs: values.drainMs ?? defaults.drainMs,
    jwtSecret: demo ? randomBytes(32).toString('hex') : values.jwtSecret,
    maxConnections: values.maxConnections ?? defaults.maxConnections,
    redis,
    rules,
    inputs,
    allowedOrigins,
    trustedProxies,
    inProduction,
    demo,
    warnings,
  };
  return { config, mistakes, warnings, defaults };
}

/** True with a GATEWAY_AUTH_URL, good or not: a bad one is a mistake of its own. */
function asksBackend(env: Environment): boolean {
  return isGiven(env, `${settingPrefix}AUTH_URL`);
}

/**
 * Reads room rules. Adds to `mistakes`, and returns no rules, if the file cannot be used. `callback`: rules may say it, because
 * there is a GATEWAY_AUTH_URL.
 */
export function readRoomsFile(file: string, callback: boolean, mistakes: string[]): RoomRule[] {
  const variable = `${settingPrefix}ROOMS_FILE`;
  const content = readText(file, variable, mistakes);
  if (content === undefined) return [];
  try {
    const result = readRules(JSON.parse(content));
    if ('rules' in result) {
      const unasked = callback
        ? []
        : result.rules.filter((rule) => [rule.subscribe, rule.publish].includes('callback'));
      const named = unasked.slice(0, mostNamed).map(({ match }) => JSON.stringify(match));
      if (unasked.length === 0) return result.rules;
      mistakes.push(
        `${variable} ${file} says "callback" for ${named.join(', ')}, and GATEWAY_AUTH_URL is not set: name the place to ask.`,
      );
      return [];
    }
    mistakes.push(...result.mistakes.map((mistake) => `${variable} ${file}: ${mistake}.`));
  } catch (error) {
    mistakes.push(`${variable} ${file} is not JSON: ${(error as Error).message}.`);
  }
  return [];
}

function readOrigins(entries: string[] | undefined, mistakes: string[]): string[] | undefined {
  return entries?.map((entry) => {
    try {
      return readOrigin(entry);
    } catch (error) {
      mistakes.push(`${settingPrefix}ALLOWED_ORIGINS holds "${entry}", which ${(error as TypeError).message}.`);
      return entry;
    }
  });
}

function readProxies(entries: string[], mistakes: string[]): BlockList {
  const proxies = new BlockList();
  for (const entry of entries) {
    const [address = '', bits, ...more] = entry.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    const most = family === 'ipv6' ? 128 : 32;
    const isRange = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most);
    if (isIP(address) === 0 || !isRange || more.length > 0) {
      mistakes.push(`${settingPrefix}TRUSTED_PROXIES holds "${entry}", which is neither an address nor a CIDR range.`);
    } else proxies.addSubnet(address, bits === undefined ? most : Number(bits), family);
  }
  return proxies;
}

/** Merges GATEWAY_REDIS_USERNAME and GATEWAY_REDIS_PASSWORD into the address of Redis. */
function readRedis(env: Environment, values: Settings, mistakes: string[]): RedisAddress | undefined {
  const { redisUrl: address, redisUsername: username, redisPassword: password } = values;
  const isSet = ({ name }: Setting<unknown>) => isGiven(env, settingPrefix + name);
  if (!isSet(settings.redisUrl)) {
    if (values.ack === 'replicated') {
      mistakes.push('GATEWAY_ACK=replicated needs GATEWAY_REDIS_URL: the memory backplane has no replica.');
    }
    const parts = [
      settings.redisUsername,
      settings.redisPassword,
      settings.redisSentinelUsername,
      settings.redisSentinelPassword,
    ];
    for (const each of parts.filter(isSet)) {
      mistakes.push(`${settingPrefix}${each.name} has no effect without GATEWAY_REDIS_URL; set both or none.`);
    }
  }
  if (address === undefined) return undefined;
  for (const part of ['username', 'password'] as const) {
    if (address[part] === undefined || { username, password }[part] === undefined) continue;
    mistakes.push(`GATEWAY_REDIS_URL holds a ${part}, and GATEWAY_REDIS_${part.toUpperCase()} is set too; keep one.`);
  }
  const known = { ...address, username: address.username ?? username, password: address.password ?? password };
  if (known.username !== undefined && known.password === undefined && !isSet(settings.redisPassword)) {
    mistakes.push(
      'There is a user for GATEWAY_REDIS_URL, but no password; a password alone is written redis://:password@host.',
    );
  }
  const ofSentinels = [settings.redisSentinelUsername, settings.redisSentinelPassword].filter(isSet);
  if (known.kind !== 'sentinel') {
    for (const { name } of ofSentinels) {
      mistakes.push(`${settingPrefix}${name} has no effect unless GATEWAY_REDIS_URL is redis+sentinel://; remove it.`);
    }
    return known;
  }
  const { redisSentinelUsername: sentinelUsername, redisSentinelPassword: sentinelPassword } = values;
  if (sentinelUsername !== undefined && !isSet(settings.redisSentinelPassword)) {
    mistakes.push(
      'GATEWAY_REDIS_SENTINEL_USERNAME is set, but GATEWAY_REDIS_SENTINEL_PASSWORD is not; set both or none.',
    );
  }
  return { ...known, sentinelUsername, sentinelPassword };
}

/** Checks that exactly one way to verify tokens is set. Returns true if none is, in development: a secret is then made. */
function checkKeys(env: Environment, values: Settings, inProduction: boolean, mistakes: string[]): boolean {
  const ways = [settings.jwtSecret, settings.jwtPublicKey, settings.jwtJwksUrl].map(({ name }) => settingPrefix + name);
  const taken = ways.filter((way) => isGiven(env, way));
  if (taken.length > 1) mistakes.push(`More than one way to verify tokens is set; keep one of ${taken.join(', ')}.`);
  if (taken.length === 0) {
    const one = `${ways[0]} (or ${ways[0]}_FILE), ${ways[1]} (or ${ways[1]}_FILE) or ${ways[2]}`;
    if (inProduction) mistakes.push(`In production tokens need a key: set ${one}.`);
    return !inProduction;
  }
  if (values.jwtSecret !== undefined && Buffer.byteLength(values.jwtSecret) < 32 && !values.insecure) {
    mistakes.push('GATEWAY_JWT_SECRET must have at least 32 bytes (RFC 7518 section 3.2); try: openssl rand -hex 32.');
  }
  const possible = algorithmsOfKey(values);
  for (const algorithm of values.jwtAlgorithms ?? []) {
    if (possible === undefined || possible.includes(algorithm)) continue;
    mistakes.push(`GATEWAY_JWT_ALGORITHMS holds "${algorithm}"; the key can do only ${possible.join(', ')}.`);
  }
  return false;
}

/** The algorithms that fit the key; undefined if the key itself is a mistake. */
function algorithmsOfKey(values: Settings): string[] | undefined {
  if (values.jwtSecret !== undefined) return secretAlgorithms;
  if (values.jwtJwksUrl !== undefined) return publicAlgorithms;
  return values.jwtPublicKey === undefined ? undefined : algorithmsOf(values.jwtPublicKey);
}

/** Finds settings that contradict each other. */
function checkTogether(env: Environment, values: Settings, mistakes: string[]): void {
  if (!asksBackend(env)) {
    if (values.authConnect) mistakes.push('GATEWAY_AUTH_CONNECT=true needs GATEWAY_AUTH_URL: name the place to ask.');
    if (isGiven(env, `${settingPrefix}AUTH_SECRET`)) {
      mistakes.push('GATEWAY_AUTH_SECRET has no effect without GATEWAY_AUTH_URL; set both or none.');
    }
  }
  if (isGiven(env, `${settingPrefix}RPC_URL`)) {
    if (!values.centrifugo)
      mistakes.push('GATEWAY_RPC_URL has no effect without GATEWAY_CENTRIFUGO=true; set both or none.');
  } else if (isGiven(env, `${settingPrefix}RPC_SECRET`)) {
    mistakes.push('GATEWAY_RPC_SECRET has no effect without GATEWAY_RPC_URL; set both or none.');
  }
  if ((values.tlsCertFile === undefined) !== (values.tlsKeyFile === undefined)) {
    mistakes.push('GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE go together; set both or none.');
  }
  const pem = (file: string | undefined, variable: string) => file && readText(file, variable, mistakes);
  const cert = pem(values.tlsCertFile, 'GATEWAY_TLS_CERT_FILE');
  const key = pem(values.tlsKeyFile, 'GATEWAY_TLS_KEY_FILE');
  if (cert !== undefined && key !== undefined) checkCertificate(cert, key, mistakes);
  if (values.maxBufferedBytes > 0 && values.maxBufferedBytes < values.maxMessageBytes) {
    mistakes.push('GATEWAY_MAX_BUFFERED_BYTES must be at least GATEWAY_MAX_MESSAGE_BYTES, or 0 for off.');
  }
  if (values.allowedOrigins?.includes('*') && values.authCookie !== undefined) {
    mistakes.push(
      'GATEWAY_ALLOWED_ORIGINS cannot be * with GATEWAY_AUTH_COOKIE: any web page could act for its visitor.',
    );
  }
}

function checkWebhook(env: Environment, mistakes: string[]): void {
  const isSet = ({ name }: Setting<unknown>) => isGiven(env, settingPrefix + name);
  const { webhookUrl, webhookSecrets, webhookEvents } = settings;
  if (isSet(webhookUrl)) {
    if (isSet(webhookSecrets)) return;
    const how = 'try: echo "whsec_$(openssl rand -base64 32)"';
    mistakes.push(`GATEWAY_WEBHOOK_URL needs GATEWAY_WEBHOOK_SECRET, by which the receiver knows who calls; ${how}.`);
    return;
  }
  for (const each of [webhookSecrets, webhookEvents].filter(isSet)) {
    mistakes.push(`${settingPrefix}${each.name} has no effect without GATEWAY_WEBHOOK_URL; set both or none.`);
  }
}

/** Returns how many connections fit into the limit of open files. */
function checkConnections({ maxConnections = 0 }: Settings, mistakes: string[]): number {
  const limit = descriptorLimit();
  const fitting = connectionsWithin(limit);
  const howToRaise = 'raise it (ulimit -n; LimitNOFILE= in systemd, ulimits: nofile: in compose)';
  if (limit < fewestDescriptors) {
    mistakes.push(
      `The limit of open files is ${limit}, but a node needs at least ${fewestDescriptors}; ${howToRaise}.`,
    );
  } else if (maxConnections > fitting) {
    mistakes.push(
      `GATEWAY_MAX_CONNECTIONS is ${maxConnections}, but the limit of ${limit} open files leaves ${fitting}; ${howToRaise}, ` +
        'or leave the setting empty.',
    );
  }
  return Number.isFinite(fitting) ? fitting : connectionsWithoutLimit;
}

function checkPorts({ host, port, adminHost, adminPort }: Settings & { host: string }, mistakes: string[]): void {
  const overlap = host === adminHost || [host, adminHost].some((each) => ['0.0.0.0', '::'].includes(each));
  // Port 0 takes a free port. A port that is a mistake is undefined.
  const same = port > 0 && port === adminPort;
  if (same && overlap) mistakes.push(`GATEWAY_PORT and GATEWAY_ADMIN_PORT are both ${port}; choose two.`);
}

function checkCertificate(cert: string, key: string, mistakes: string[]): void {
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    mistakes.push(`GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE cannot be used: ${(error as Error).message}.`);
  }
}
