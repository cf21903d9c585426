/** nginx with the configuration of docs/load-balancers.md. */
import { join } from 'node:path';
import { test } from 'vitest';
import { randomRoom, tokenOf } from '../integration/people.ts';
import { connectWelcomed } from '../support/client.ts';
import { changesSuite } from './changes-suite.ts';
import { startNodes } from './nodes.ts';
import { type Program, replaceOne, snippet, startProxy } from './proxy.ts';
import { type Start, trafficSuite } from './suite.ts';

const nginx: Program = {
  ...{ name: 'nginx', package: 'nginx-light', versionArgument: '-v' },
  listens: 'listen 80;',
  listensOn: (port) => `listen 127.0.0.1:${port};`,
  arguments: (file) => ['-c', file, '-g', 'daemon off;'],
  async adapt(configuration, folder) {
    let text = replaceOne(configuration, '/var/log/nginx/error.log', join(folder, 'error.log'));
    text = replaceOne(text, '/var/log/nginx/access.log', join(folder, 'access.log'));
    return replaceOne(text, '/run/nginx.pid', join(folder, 'nginx.pid'));
  },
};
const start: Start = (nodes) => startProxy(nginx, snippet('nginx'), nodes);

// nginx passes such a header on, and two nodes leave it without an answer for 10 s each.
trafficSuite(start, 30_000);
changesSuite(start);

test('a reload keeps who is connected and refuses nobody who comes', async () => {
  const nodes = await startNodes();
  const nginx = await start(nodes);
  const url = `ws://127.0.0.1:${nginx.port}/ws`;
  const [member, token] = [await connectWelcomed(url, await tokenOf('member')), await tokenOf('visitor')];
  nginx.kill('SIGHUP');
  for (let visits = 0; visits < 50; visits++) await (await connectWelcomed(url, token)).close();
  await member.subscribe(randomRoom());
});
