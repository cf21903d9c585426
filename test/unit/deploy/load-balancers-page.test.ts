/**
 * docs/load-balancers.md, as far as it can be held without the programs: all four configurations lead to the same paths and ports,
 * and wait long enough. test/proxies runs three of them.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { refusedPaths } from '../../proxies/paths.ts';
import type { Manifest } from './manifests.ts';

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
const page = read('docs/load-balancers.md');
const block = (language: string) => new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'ms').exec(page)?.[1] ?? '';
const publicPaths = [
  ...['/ws', '/healthz', '/rooms/a/events', '/rooms/a%2Fb/events', '/rooms/@alice/messages'],
  ...['/connection/websocket', '/connection/http_stream', '/connection/sse', '/emulation'],
];

describe('Envoy', () => {
  const { listeners, clusters } = parse(block('yaml')).static_resources as Manifest;
  const manager = listeners[0].filter_chains[0].filters[0].typed_config;
  const [host] = manager.route_config.virtual_hosts;
  const [cluster] = clusters;
  const isRouted = (path: string) =>
    host.routes.some(({ match }: Manifest) =>
      match.path === undefined ? new RegExp(`^(${match.safe_regex.regex})$`).test(path) : match.path === path,
    );

  test('its routes match the public paths, and none in another spelling', () => {
    expect(publicPaths.filter((path) => !isRouted(path))).toEqual([]);
    expect(refusedPaths.filter(isRouted)).toEqual([]);
    expect(manager).toMatchObject({
      ...{ normalize_path: false, merge_slashes: false, path_with_escaped_slashes_action: 'KEEP_UNCHANGED' },
    });
  });

  test('only handshakes at the paths of WebSockets may be upgraded', () => {
    expect(manager.upgrade_configs).toEqual([{ upgrade_type: 'websocket', enabled: false }]);
    const upgradable = host.routes.filter(({ route }: Manifest) => route.upgrade_configs !== undefined);
    expect(upgradable.map(({ match }: Manifest) => match)).toEqual([
      { path: '/ws' },
      { path: '/connection/websocket' },
    ]);
  });

  test('it leads to the public port, and asks /readyz on the admin port', () => {
    for (const { endpoint } of cluster.load_assignment.endpoints[0].lb_endpoints) {
      expect(endpoint.address.socket_address.port_value).toBe(8080);
      expect(endpoint.health_check_config.port_value).toBe(8081);
    }
    expect(cluster.health_checks[0].http_health_check.path).toBe('/readyz');
  });

  test('streams and polls have no total time, and an idle time over 35 s', () => {
    expect(host.routes.map(({ route }: Manifest) => route.timeout)).toEqual(['0s', '5s', '0s', '0s', '0s']);
    expect(Number.parseInt(manager.stream_idle_timeout, 10)).toBeGreaterThan(35);
  });

  test('it sets the address of the client to its peer', () => {
    const [{ header, append_action: action }] = host.request_headers_to_add;
    expect([header.key, header.value]).toEqual(['x-forwarded-for', '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%']);
    expect(action).toBe('OVERWRITE_IF_EXISTS_OR_ADD');
  });
});

describe('all of them', () => {
  /** What each compares the path with, with the query in nginx and Caddy. */
  const patterns = {
    haproxy: /path -m reg (\S+)/.exec(read('deploy/haproxy/haproxy.cfg'))?.[1],
    nginx: /~(\^\/rooms\S+) 1;/.exec(block('nginx'))?.[1],
    caddy: /matches\("(.*?)"\)/.exec(block('caddyfile'))?.[1],
  };

  test.each(Object.entries(patterns))('%s: its pattern takes rooms, and no other spelling', (_, pattern = '') => {
    const expression = new RegExp(pattern);
    for (const path of publicPaths.filter((each) => each.includes('rooms'))) expect(path).toMatch(expression);
    // /healthz is in the pattern of Caddy, and test/proxies sends the others for real.
    expect(refusedPaths.filter((path) => expression.test(path))).toEqual([]);
  });

  test('none leads clients to the admin port: it is named for health checks only', () => {
    const all = [block('haproxy'), block('nginx'), block('caddyfile'), block('yaml')].join('\n');
    for (const line of all.split('\n').filter((each) => each.includes('8081'))) {
      expect(line.trim()).toMatch(/^(default-server check port|health_port|health_check_config:)/);
    }
    expect(all.match(/10\.0\.0\.1[12]:8080|address: 10\.0\.0\.1[12], port_value: 8080/g)).toHaveLength(8);
  });
});
