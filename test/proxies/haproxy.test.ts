/** HAProxy with deploy/haproxy/haproxy.cfg and the servers of docs/load-balancers.md. */
import { readFileSync } from 'node:fs';
import { freePort } from '../support/free-port.ts';
import { changesSuite } from './changes-suite.ts';
import { type Program, replaceOne, snippet, startProxy } from './proxy.ts';
import { type Start, trafficSuite } from './suite.ts';

const deployed = readFileSync(new URL('../../deploy/haproxy/haproxy.cfg', import.meta.url), 'utf8');
const haproxy: Program = {
  ...{ name: 'haproxy', package: 'haproxy', versionArgument: '-v' },
  listens: 'bind :8080 ',
  listensOn: (port) => `bind 127.0.0.1:${port} `,
  arguments: (file) => ['-W', '-db', '-f', file],
  async adapt(configuration) {
    let text = replaceOne(configuration, /^ *server-template .*\n/m, snippet('haproxy'));
    text = replaceOne(text, /^resolvers dns\n(?: .*\n)+/m, '');
    return replaceOne(text, 'bind :8404', `bind 127.0.0.1:${await freePort()}`);
  },
};
const start: Start = (nodes) => startProxy(haproxy, deployed, nodes);

trafficSuite(start);
changesSuite(start);
