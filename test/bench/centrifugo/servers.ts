/**
 * The servers of the rows about Centrifugo's protocol: the gateway with members that speak it, and Centrifugo itself.
 */
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Scenario } from '../scenario.ts';
import { benchSecret, type Contestant, folder, gateway, gatewayEnvironment, root } from '../servers.ts';

export const formats = {
  json: { title: 'JSON', dialect: 'centrifugo' },
  protobuf: { title: 'Protobuf', dialect: 'centrifugoProtobuf' },
} as const;
export type Format = keyof typeof formats;
export type Engine = 'redis' | 'memory';

/** Rooms `kept:…` keep this many messages. */
const historySize = 100;
const roomsFile = join(folder, 'history-rooms.json');
writeFileSync(roomsFile, JSON.stringify({ rooms: [{ match: 'kept:*', history: { size: historySize } }] }));

/** Its members speak this form; the publisher is a native one, as in the rows they are compared with. */
export function memberOf(format: Format): Contestant {
  return { ...gatewayWith(format), name: formats[format].title, publisherDialect: 'gateway' };
}

/** Members and publisher speak this form. */
export function gatewayWith(format: Format, engine: Engine = 'redis'): Contestant {
  const more = { CENTRIFUGO: 'true', ROOMS_FILE: roomsFile, ...(engine === 'memory' && { REDIS_URL: '' }) };
  const environment = { ...gateway.environment, ...gatewayEnvironment(more) };
  return { ...gateway, dialect: formats[format].dialect, environment };
}

const environment: Record<string, string> = {};

/** Centrifugo itself, on one processor like all servers here. */
export function centrifugoWith(format: Format, engine: Engine): Contestant {
  return {
    name: 'Centrifugo',
    dialect: formats[format].dialect,
    program: join(root, 'test/bench/centrifugo/program.js'),
    flags: [],
    get environment() {
      return { ...environment, ENGINE: engine, SECRET: benchSecret, HISTORY_SIZE: String(historySize) };
    },
    pace: 1,
  };
}

/** The program of Centrifugo. */
export function setCentrifugo(file: string): void {
  environment.CENTRIFUGO = resolve(file);
}

export function needsCentrifugo({ against }: Pick<Scenario, 'against'>): boolean {
  return against?.name === 'Centrifugo';
}
