/**
 * The package as `npm pack` makes it, unpacked beside nothing but React and its MessagePack library: what an application gets by each of its exports.
 *
 * The build has been done; nothing is fetched.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { folder } from '../integration/files.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const app = folder();
const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', app], {
  ...{ cwd: repository, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
});
const [{ filename, files }] = JSON.parse(packed) as [{ filename: string; files: { path: string }[] }];
const modules = join(app, 'node_modules');
mkdirSync(join(modules, 'roomcast'), { recursive: true });
execFileSync('tar', ['-xzf', join(app, filename), '-C', join(modules, 'roomcast'), '--strip-components=1']);
mkdirSync(join(modules, '@types'));
mkdirSync(join(modules, '@msgpack'));
for (const name of ['react', '@types/react', 'csstype', '@msgpack/msgpack'])
  symlinkSync(join(repository, 'node_modules', name), join(modules, name));

const { exports } = JSON.parse(readFileSync(join(modules, 'roomcast/package.json'), 'utf8'));

/** What each export has, at the least. */
const names: Record<string, string[]> = {
  './client': ['Client', 'RoomcastError', 'connect'],
  './client/fallback': ['fallback'],
  './client/binary': ['binary'],
  './react': ['usePresence', 'useRoom'],
  './socketio': ['Socket', 'io'],
  './client.js': ['Client', 'RoomcastError', 'connect'],
};

test('it holds the program and the client library, and neither tests nor sources', () => {
  const folders = new Set(files.map(({ path }) => path.split('/').slice(0, 2).join('/')));
  const program = ['dist/client.js', 'dist/gateway', 'dist/shared', 'gateway/cli'];
  expect([...folders].sort()).toEqual(['LICENSE', 'README.md', ...program, 'package.json']);
  expect(files.filter(({ path }) => /(?<!\.d)\.ts$|test/.test(path))).toEqual([]);
});

test('every export is tried here', () => {
  expect(Object.keys(exports).filter((name) => name !== './package.json')).toEqual(Object.keys(names));
});

test.each(Object.entries(names))('%s can be imported, and nothing else is needed', (name, expected) => {
  const script = `console.log(JSON.stringify(Object.keys(await import('roomcast/${name.slice(2)}'))))`;
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: app,
    encoding: 'utf8',
  });
  expect(JSON.parse(output).sort()).toEqual(expected);
});

test.each(['bundler', 'nodenext'])(
  'its types are whole, for an application compiled with moduleResolution %s',
  (resolution) => {
    writeFileSync(
      join(app, 'app.mts'),
      `import { connect, type Message, type Options, type Room } from 'roomcast/client';
     import { binary } from 'roomcast/client/binary';
     import { fallback } from 'roomcast/client/fallback';
     import { usePresence, useRoom } from 'roomcast/react';
     import { io } from 'roomcast/socketio';
     const options: Options = { binary, fallback, getToken: async () => 'token' };
     const client = connect('wss://example.com/ws', options);
     const room: Room = client.room('room', { since: { epoch: 'e', offset: 1 } });
     room.on('message', (message: Message) => message.data);
     const transport: 'websocket' | 'sse' | undefined = client.transport;
     export const Part = () => [useRoom(client, 'room').messages, usePresence(client, 'room').count, transport];
     io('https://example.com/chat').on('chat', (text: string) => text).emit('chat', 'hello', () => undefined);
     // @ts-expect-error: a room has no such event
     room.on('mesage', () => undefined);
`,
    );
    const module = resolution === 'bundler' ? 'esnext' : 'nodenext';
    const flags = [
      '--strict',
      '--noEmit',
      '--target',
      'es2022',
      '--lib',
      'es2022,dom',
      '--types',
      '',
      '--module',
      module,
    ];
    const tsc = join(repository, 'node_modules/.bin/tsc');
    const compile = () =>
      execFileSync(tsc, [...flags, '--moduleResolution', resolution, 'app.mts'], {
        cwd: app,
        encoding: 'utf8',
        stdio: 'pipe',
      });
    expect(compile()).toBe('');
  },
);
