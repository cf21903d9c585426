/**
 * The structure of gateway/ and shared/, read from their import statements: the allowed imports of each folder,
 * dependencies in one direction, one importing file per library, and the size of files and folders.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const root = new URL('../../', import.meta.url);

interface Import {
  from: string;
  typesOnly: boolean;
}

/** Imports by file, for example `gateway/rooms/hub.ts`. An import is the path of a file or the name of a package. */
const imports = new Map<string, Import[]>(
  ['gateway', 'shared'].flatMap((folder) =>
    readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
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

/** Everything that `file` imports directly or indirectly, including packages and types. */
function reach(file: string, seen = new Set<string>()): Set<string> {
  for (const { from } of imports.get(file) ?? []) {
    if (seen.has(from)) continue;
    seen.add(from);
    reach(from, seen);
  }
  return seen;
}

/**
 * The folders that the files of a folder may import from, types included, besides their own. A folder that is not
 * listed belongs to its parent. `gateway` stands for the files directly in gateway/.
 */
const mayImport: Record<string, string[]> = {
  shared: [],
  'gateway/telemetry': ['shared'],
  'gateway/backplane': ['shared'],
  'gateway/redis': ['shared', 'gateway/telemetry', 'gateway/backplane'],
  'gateway/protocol': ['shared', 'gateway/backplane'],
  'gateway/auth': ['shared', 'gateway/telemetry', 'gateway/protocol'],
  'gateway/admission': [],
  'gateway/rooms': ['shared', 'gateway/telemetry', 'gateway/backplane', 'gateway/protocol', 'gateway/auth'],
  'gateway/operations': [
    ...['shared', 'gateway/telemetry', 'gateway/backplane', 'gateway/protocol', 'gateway/auth', 'gateway/rooms'],
  ],
  'gateway/connection': [
    ...['shared', 'gateway/telemetry', 'gateway/protocol', 'gateway/auth', 'gateway/rooms', 'gateway/operations'],
    'gateway/admission',
  ],
  'gateway/http': [
    ...['shared', 'gateway/telemetry', 'gateway/protocol', 'gateway/auth', 'gateway/rooms', 'gateway/operations'],
    ...['gateway/connection', 'gateway/admission'],
  ],
  'gateway/webhooks': ['shared', 'gateway/telemetry', 'gateway/backplane', 'gateway/auth'],
  'gateway/inputs': [
    ...['shared', 'gateway/telemetry', 'gateway/backplane', 'gateway/redis', 'gateway/protocol', 'gateway/auth'],
    'gateway/operations',
  ],
  'gateway/cli': ['shared', 'gateway/telemetry', 'gateway/auth', 'gateway'],
  'gateway/dashboard': [
    ...['shared', 'gateway/telemetry', 'gateway/backplane', 'gateway/auth', 'gateway/rooms', 'gateway/operations'],
    'gateway/http',
  ],
  gateway: [
    ...['shared', 'gateway/telemetry', 'gateway/backplane', 'gateway/redis', 'gateway/protocol', 'gateway/auth'],
    ...['gateway/rooms', 'gateway/operations', 'gateway/connection', 'gateway/http', 'gateway/webhooks'],
    ...['gateway/dashboard', 'gateway/admission', 'gateway/inputs'],
  ],
};

function folderOf(file: string): string {
  const folder = file.slice(0, file.lastIndexOf('/'));
  return folder in mayImport ? folder : folderOf(folder);
}

test('imports are read correctly: known ones are found', () => {
  expect(imports.size).toBeGreaterThan(60);
  expect(imports.get('gateway/http/library.ts')).toContainEqual({ from: 'uWebSockets.js', typesOnly: true });
  expect(imports.get('gateway/http/library.ts')).toContainEqual({ from: 'uWebSockets.js', typesOnly: false });
  expect(imports.get('gateway/rooms/hub.ts')).toContainEqual({ from: 'gateway/rooms/freeze.ts', typesOnly: true });
  expect(imports.get('gateway/http/server.ts')).toContainEqual({ from: 'gateway/http/handshake.ts', typesOnly: false });
  expect(imports.get('gateway/protocol/roomcast/decode.ts')).toContainEqual({
    from: 'shared/room.ts',
    typesOnly: false,
  });
  expect(imports.get('gateway/main.ts')).toContainEqual({ from: 'gateway/gateway.ts', typesOnly: false });
  expect(folderOf('gateway/redis/history/queue.ts')).toBe('gateway/redis');
});

test('every folder imports only from the folders below it', () => {
  const foreign = [...imports].flatMap(([file, list]) => {
    const own = folderOf(file);
    const allowed = new Set([own, ...(mayImport[own] ?? [])]);
    return list
      .filter(({ from }) => imports.has(from) && !allowed.has(folderOf(from)))
      .map(({ from }) => `${file} imports ${from}`);
  });
  expect(foreign).toEqual([]);
});

test('no two folders may import each other', () => {
  for (const [folder, others] of Object.entries(mayImport)) {
    for (const other of others) expect(mayImport[other], `${folder} and ${other}`).not.toContain(folder);
  }
});

test.each([
  ['uWebSockets.js', 'gateway/http/library.ts'],
  ['ioredis', 'gateway/redis/connection/dial.ts'],
  ['prom-client', 'gateway/telemetry/metrics.ts'],
  ['jose', 'gateway/auth/authenticator.ts'],
  ['commander', 'gateway/cli/main.ts'],
  ['ws', 'gateway/cli/link.ts'],
  ['kafkajs', 'gateway/inputs/kafka-source.ts'],
  ['rabbitmq-client', 'gateway/inputs/rabbitmq-source.ts'],
  ['react', 'shared/client/react.ts'],
  ['@msgpack/msgpack', 'shared/msgpack.ts'],
])('%s is imported only by %s, types included', (library, owner) => {
  const importers = [...imports].filter(([, list]) =>
    list.some(({ from }) => from === library || from.startsWith(`${library}/`)),
  );
  expect(importers.map(([file]) => file)).toEqual([owner]);
});

test('shared/ imports only from shared/ and no library, so it runs in browsers; but React and MessagePack, where they are due', () => {
  const due = ['shared/client/react.ts', 'shared/msgpack.ts'];
  const foreign = [...imports]
    .filter(([file]) => file.startsWith('shared/') && !due.includes(file))
    .flatMap(([file, list]) =>
      list.filter(({ from }) => !from.startsWith('shared/')).map(({ from }) => `${file}: ${from}`),
    );
  expect(foreign).toEqual([]);
});

test('the client library needs none of its additions, and they only need what it offers', () => {
  const additions = ['fallback/fallback', 'binary', 'react', 'socketio'].map((name) => `shared/client/${name}.ts`);
  const reached = reach('shared/client/client.ts');
  expect([...reached]).not.toContain('@msgpack/msgpack');
  expect(additions.filter((file) => reached.has(file))).toEqual([]);
  const ofAdditions = imports.get('shared/client/react.ts')?.concat(imports.get('shared/client/socketio.ts') ?? []);
  const offered = ['react', 'shared/client/client.ts', 'shared/client/members.ts'];
  expect(ofAdditions?.map(({ from }) => from).filter((from) => !offered.includes(from))).toEqual([]);
});

test('gateway/ imports nothing from the tests, and no missing file', () => {
  const files = [...imports.values()].flat().map(({ from }) => from);
  const inside = files.filter((from) => from.includes('/') && from.endsWith('.ts'));
  expect(inside.filter((from) => !imports.has(from))).toEqual([]);
});

test('rooms import neither sockets nor Redis, not even indirectly or for types', () => {
  const reached = reach('gateway/rooms/hub.ts');
  expect(reached).toContain('gateway/backplane/backplane.ts');
  const forbidden = ['uWebSockets.js', 'ioredis', 'ws', 'jose', 'node:net', 'node:tls', 'node:http', 'node:https'];
  expect(forbidden.filter((name) => reached.has(name))).toEqual([]);
});

test('there is no import cycle, except of types', () => {
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

test('no file has more than 350 lines, and no folder more than 14 files', () => {
  const linesOf = (file: string) => readFileSync(new URL(file, root), 'utf8').split('\n').length - 1;
  expect([...imports.keys()].filter((file) => linesOf(file) > 350)).toEqual([]);
  const folders = new Map<string, number>();
  for (const file of imports.keys()) {
    const folder = file.slice(0, file.lastIndexOf('/'));
    folders.set(folder, (folders.get(folder) ?? 0) + 1);
  }
  expect([...folders].filter(([, files]) => files > 14)).toEqual([]);
});
