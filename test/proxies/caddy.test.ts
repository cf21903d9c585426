/** Caddy with the Caddyfile of docs/load-balancers.md. */
import { freePort } from '../support/free-port.ts';
import { changesSuite } from './changes-suite.ts';
import { type Program, replaceOne, snippet, startProxy } from './proxy.ts';
import { type Start, trafficSuite } from './suite.ts';

const caddy: Program = {
  ...{ name: 'caddy', package: 'caddy', versionArgument: 'version' },
  listens: /^:80 (?=\{)/m,
  listensOn: (port) => `http://127.0.0.1:${port}, http://localhost:${port} `,
  arguments: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
  adapt: async (configuration) =>
    replaceOne(configuration, 'admin localhost:2019', `admin 127.0.0.1:${await freePort()}`),
};
const start: Start = (nodes) => startProxy(caddy, snippet('caddyfile'), nodes);

trafficSuite(start);
changesSuite(start);
