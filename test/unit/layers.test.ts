/**
 * The structure of gateway/ and shared/, read from their import statements: dependencies point one way, each library is
 * known to one file, the hub knows neither sockets nor Redis, and the command line and the node nothing of each other.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const root = new URL('../../', import.meta.url);

interface Import {
  from: string;
  typesOnly: boolean;
}

/** Imports by file, `gateway/rooms/hub.ts`; the file that a relative import names, or the name of a package. */
const imports = new Map<string, Import[]>(
  ['gateway', 'gateway/cli', 'shared'].flatMap((folder) =>
    readdirSync(new URL(folder, root))
      .filter((name) => name.endsWith('.ts'))
      .map((name) => [`${folder}/${name}`, importsOf(`${folder}/${name}`)] as const),
  ),
);

function importsOf(file: string): Import[] {
  const text = readFileSync(new URL(file, root), 'utf8');
  const statements = text.matchAll(/^(?:import|export)\s+(?:([^;'"]*?)\s+from\s+)?'([^']+)'/gm);
  const dynamic = text.matchAll(/\b(?:import|require)\s*\(\s*['"`]([^'"`]+)['"`]/g);
  return [
    ...[...statements].map(([, names = '', from = '']) => ({
      from: resolve(file, from),
      typesOnly: isTypesOnly(names),
    })),
    ...[...dynamic].map(([, from = '']) => ({ from: resolve(file, from), typesOnly: false })),
  ];
}

function isTypesOnly(names: string): boolean {
  if (/^type\s/.test(names)) return true;
  const braced = /^\{([^}]*)\}$/s
    .exec(names.trim())?.[1]
    ?.split(',')
    .filter((name) => name.trim() !== '');
  return braced?.every((name) => /^\s*type\s/.test(name)) ?? false;
}

function resolve(file: string, from: string): string {
  return from.startsWith('.') ? new URL(from, new URL(file, root)).href.slice(root.href.length) : from;
}

/** Everything that `file` reaches by imports of any kind, packages included. */
function reach(file: string, seen = new Set<string>()): Set<string> {
  for (const { from } of imports.get(file) ?? []) {
    if (seen.has(from)) continue;
    seen.add(from);
    reach(from, seen);
  }
  return seen;
}

test('the reading of imports is right: it finds what is known to be there', () => {
  expect(imports.size).toBeGreaterThan(25);
  expect(imports.get('gateway/http/server.ts')).toContainEqual({ from: 'uWebSockets.js', typesOnly: true });
  expect(imports.get('gateway/http/server.ts')).toContainEqual({ from: 'uWebSockets.js', typesOnly: false });
  expect(imports.get('gateway/http/server.ts')).toContainEqual({
    from: 'gateway/connection/heartbeat.ts',
    typesOnly: true,
  });
  expect(imports.get('gateway/http/server.ts')).toContainEqual({ from: 'gateway/http/handshake.ts', typesOnly: false });
  expect(imports.get('gateway/protocol/frame.ts')).toContainEqual({ from: 'shared/room.ts', typesOnly: false });
  expect(imports.get('gateway/main.ts')).toContainEqual({ from: 'gateway/gateway.ts', typesOnly: false });
});

test.each([
  ['uWebSockets.js', 'gateway/http/server.ts'],
  ['ioredis', 'gateway/redis/connection/connection.ts'],
  ['prom-client', 'gateway/telemetry/metrics.ts'],
  ['jose', 'gateway/auth/authenticator.ts'],
  ['commander', 'gateway/cli/main.ts'],
])('%s is imported by %s alone, for types too', (library, owner) => {
  const importers = [...imports].filter(([, list]) =>
    list.some(({ from }) => from === library || from.startsWith(`${library}/`)),
  );
  expect(importers.map(([file]) => file)).toEqual([owner]);
});

test('shared/ imports nothing but shared/, so it runs in browsers', () => {
  const foreign = [...imports]
    .filter(([file]) => file.startsWith('shared/'))
    .flatMap(([file, list]) =>
      list.filter(({ from }) => !from.startsWith('shared/')).map(({ from }) => `${file}: ${from}`),
    );
  expect(foreign).toEqual([]);
});

test('gateway/ imports nothing of the tests, and nothing that is not there', () => {
  const files = [...imports.values()].flat().map(({ from }) => from);
  const inside = files.filter((from) => from.includes('/') && from.endsWith('.ts'));
  expect(inside.filter((from) => !imports.has(from))).toEqual([]);
});

test('the hub reaches neither sockets nor Redis, not even by types', () => {
  const forbidden = [
    ...['uWebSockets.js', 'ioredis', 'ws', 'jose', 'node:net', 'node:tls', 'node:http', 'node:https'],
    ...['server', 'connection', 'session', 'node', 'backplane-redis', 'backplane-memory', 'redis-connection'].map(
      (name) => `gateway/${name}.ts`,
    ),
    ...['subscriptions', 'envelope', 'handshake', 'auth', 'config', 'gateway'].map((name) => `gateway/${name}.ts`),
  ];
  const reached = reach('gateway/rooms/hub.ts');
  expect(reached).toContain('gateway/backplane/backplane.ts');
  expect(forbidden.filter((name) => reached.has(name))).toEqual([]);
});

/** Each may import from its own line and from those before it. */
const layers = [
  ['gateway/backplane/backplane.ts'],
  [
    'gateway/backplane/presence.ts',
    'gateway/redis/connection/pipeline.ts',
    'gateway/redis/connection/connection.ts',
    'gateway/redis/connection/connections.ts',
    'gateway/redis/history/queue.ts',
    'gateway/redis/canary.ts',
    'gateway/redis/subscriptions.ts',
  ],
  [
    'gateway/backplane/memory/backplane.ts',
    'gateway/redis/backplane.ts',
    'gateway/redis/presence/leases.ts',
    'gateway/backplane/memory/presence.ts',
    'gateway/redis/presence/presence.ts',
  ],
  ['gateway/rooms/presence-room.ts', 'gateway/rooms/presence.ts', 'gateway/rooms/hub.ts'],
  [
    'gateway/connection/connection.ts',
    'gateway/connection/memberships.ts',
    'gateway/connection/session.ts',
    'gateway/connection/node.ts',
  ],
  ['gateway/http/server.ts'],
  ['gateway/gateway.ts'],
  ['gateway/main.ts'],
];
const layerOf = new Map(layers.flatMap((files, layer) => files.map((file) => [file, layer] as const)));

test('dependencies point one way: shared, backplane, hub, connection, server, gateway, main', () => {
  expect([...layerOf.keys()].filter((file) => !imports.has(file))).toEqual([]);
  const upwards = [...layerOf].flatMap(([file, layer]) =>
    [...(imports.get(file) ?? [])]
      .filter(({ from }) => (layerOf.get(from) ?? 0) > layer)
      .map(({ from }) => `${file} imports ${from}`),
  );
  expect(upwards).toEqual([]);
});

test('the two backplanes know nothing of each other, and nothing of the hub', () => {
  for (const name of ['memory', 'redis']) {
    const reached = reach(`gateway/backplane-${name}.ts`);
    const other = name === 'memory' ? 'redis' : 'memory';
    for (const file of [
      `gateway/backplane-${other}.ts`,
      'gateway/rooms/hub.ts',
      'gateway/protocol/frame.ts',
      'gateway/rooms/access.ts',
    ]) {
      expect(reached.has(file), `${name} reaches ${file}`).toBe(false);
    }
  }
});

test('the command line knows nothing of a node but its version, and no node knows the command line', () => {
  const isNode = (file: string) => file.startsWith('gateway/') && !file.startsWith('gateway/cli/');
  const crossing = [...imports].flatMap(([file, list]) =>
    list.filter(({ from }) => isNode(file) !== isNode(from) && /^gateway/.test(from)).map(({ from }) => [file, from]),
  );
  expect(crossing).toEqual([['gateway/cli/main.ts', 'gateway/version.ts']]);
});

test('there is no circle of imports, except by types alone', () => {
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]) => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' > '));
    if (path.includes(file) || done.has(file)) return;
    for (const { from, typesOnly } of imports.get(file) ?? []) if (!typesOnly) visit(from, [...path, file]);
    done.add(file);
  };
  for (const file of imports.keys()) visit(file, []);
  expect(circles).toEqual([]);
});
