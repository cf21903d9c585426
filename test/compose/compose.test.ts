/**
 * The deployment as an operator meets it: one scenario, in order, against docker-compose.yml as it stands. Three
 * replicas start, five run, one is killed, one is stopped, Redis goes and comes, many more come and go.
 *
 * Owns the story only: containers are in stack.ts, clients in members.ts, Prometheus in prometheus.ts. The tests build
 * on each other; when the start fails, all do.
 */

import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../support/client.ts';
import { until } from '../support/until.ts';
import { documented } from './documented.ts';
import { byNode, type Door, enter, join as joinRoom, type Member, publishRound, type Round } from './members.ts';
import { dashboardQueries, metricNames, Prometheus } from './prometheus.ts';
import { docker, repository, Stack } from './stack.ts';

const room = 'chat:everybody';
/** A gateway says 404 in plain text, so this page shows that the request did not come so far. */
const refusalOfHaproxy = /^404 <html><body><h1>404 Not Found/;

/** Building the image installs the dependencies twice. */
const upTimeoutMs = 600_000;

let stack: Stack;
let door: Door;
let prometheus: Prometheus;
let members: Member[] = [];

/** Lets clients in until they landed on `count` nodes besides `known`; leastconn picks the node with the fewest. */
async function enterUntilNodes(count: number, known: readonly Member[] = []): Promise<Member[]> {
  const entered: Member[] = [];
  const fresh = () => [...byNode(entered).keys()].filter((node) => !byNode(known).has(node));
  const enough = async () => {
    entered.push(await enter(door));
    return fresh().length === count;
  };
  await until(enough, 60_000, `new connections land on ${count} nodes`);
  return entered;
}

const leave = (leaving: Member[]) => Promise.all(leaving.map(({ client }) => client.close()));

/** Everybody received everything that was sent, once, in the order in which the others did. */
function expectOneOrder({ sent, received }: Round): void {
  expect([...(received[0] ?? [])].sort()).toEqual([...sent].sort());
  for (const order of received) expect(order).toEqual(received[0]);
}

async function containerOfNode(node: string): Promise<string> {
  const [info] = await prometheus.query(`gateway_info{node="${node}"}`);
  const address = info?.metric.instance?.split(':')[0];
  const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
  for (const container of await stack.containers('gateway')) {
    if ((await docker('inspect', '--format', format, container)).trim() === address) return container;
  }
  throw new Error(`no container has the address of node ${node}: ${address}`);
}

/** Finds the ways in, and waits until three replicas serve. */
async function openDoor(): Promise<void> {
  prometheus = new Prometheus(await stack.address('prometheus', 9090));
  const secret = (await stack.exec('cat', '/run/roomcast/jwt-secret')).trim();
  door = { url: `ws://${await stack.address('haproxy', 8080)}/ws`, secret };
  await leave(await enterUntilNodes(3));
}

beforeAll(async () => {
  stack = await Stack.create();
  await stack.override('test', {
    services: {
      // Soon enough that each client has been measured before Prometheus is asked.
      gateway: { environment: { GATEWAY_PING_INTERVAL_MS: '2000' } },
      // For this test only, on the loopback address; the deployment itself publishes nothing but the public door.
      prometheus: { ports: ['127.0.0.1::9090'] },
      // Grafana itself is not needed to see what the command for it does.
      grafana: { image: 'redis:7-bookworm', tmpfs: ['/data'] },
    },
  });
  await stack.shell(await documented('README.md', 'docker-compose up -d --build'), upTimeoutMs);
  await openDoor().catch(async (cause) => {
    throw new Error(`the deployment does not serve:\n${await stack.logs()}`, { cause });
  });
  members = await joinRoom(door, room, 100);
});

afterAll(async () => {
  for (const { client } of members) client.socket.terminate();
  await stack?.down();
  await stack?.removeScratch();
});

test('with nothing set, only the load balancer is published, on 127.0.0.1:8080', async () => {
  const file = await readFile(join(repository, 'docker-compose.yml'), 'utf8');
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is Compose that fills it in
  expect(file).toContain('- 127.0.0.1:${ROOMCAST_PORT:-8080}:8080');
  const published = async (service: string) => {
    const [container = ''] = await stack.containers(service);
    return (await docker('port', container)).trim();
  };
  for (const service of ['gateway', 'redis']) expect(await published(service), service).toBe('');
  expect(await published('haproxy')).toMatch(/^8080\/tcp -> 127\.0\.0\.1:\d+$/);
});

test('the image runs without rights and holds one native binary and no development dependency', async () => {
  expect((await stack.exec('id', '--user')).trim()).toBe('1000');
  const [replica = ''] = await stack.containers('gateway');
  // By number: Kubernetes takes a name for no proof of runAsNonRoot.
  expect((await docker('inspect', '--format', '{{.Config.User}}', replica)).trim()).toMatch(/^[1-9]\d*(:\d+)?$/);
  const binaries = await stack.exec('ls', 'node_modules/uWebSockets.js/dist/bin');
  expect(binaries.trim()).toMatch(/^uws_linux_\w+_127\.node$/);
  const modules = (await stack.exec('ls', 'node_modules')).split('\n');
  expect(modules).toContain('ioredis');
  expect(modules).not.toContain('vitest');
  expect(modules).not.toContain('typescript');
});

test('no service has a capability or can gain one, and none writes outside of its volumes', async () => {
  const format = '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}';
  for (const service of ['gateway', 'haproxy', 'redis', 'prometheus']) {
    const [container = ''] = await stack.containers(service);
    const said = (await docker('inspect', '--format', format, container)).trim();
    expect(said, service).toBe('true [ALL] [no-new-privileges:true]');
    // Of the service's first process, as the kernel has it.
    const status = await docker('exec', container, 'cat', '/proc/1/status');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
      expect(status, service).toMatch(new RegExp(`^${set}:\\s+0{16}$`, 'm'));
    }
    expect(status, service).toMatch(/^NoNewPrivs:\s+1$/m);
    expect(status, service).toMatch(/^Uid:\s+[1-9]/m);
    await expect(docker('exec', container, 'touch', '/written'), service).rejects.toThrow(/Read-only file system/);
  }
});

test('every replica becomes healthy by the check of the image', async () => {
  const replicas = await stack.containers('gateway');
  const health = () => docker('inspect', '--format', '{{.State.Health.Status}}', ...replicas);
  await until(async () => (await health()).trim() === 'healthy\nhealthy\nhealthy', 120_000, 'three healthy replicas');
});

test('the secret is new in every project, and a second start keeps it', async () => {
  await stack.up();
  expect((await stack.exec('cat', '/run/roomcast/jwt-secret')).trim()).toBe(door.secret);
  expect(door.secret).toMatch(/^[0-9a-f]{64}$/);
  expect((await stack.exec('cat', '/run/roomcast/api-key')).trim()).toMatch(/^[0-9a-f]{64}$/);
  const sister = `${stack.project}-sister`;
  try {
    await stack.compose(['run', '--rm', 'secrets'], { project: sister });
    const readIt = ['run', '--rm', '--entrypoint', 'cat', 'secrets', '/secrets/jwt-secret'];
    const secret = (await stack.compose(readIt, { project: sister })).trim();
    expect(secret).toMatch(/^[0-9a-f]{64}$/);
    expect(secret).not.toBe(door.secret);
  } finally {
    await stack.down(sister);
  }
});

test('the command for Grafana, as any `up` without a change, leaves the replicas as they are', async () => {
  const replicas = (await stack.containers('gateway')).sort();
  expect(replicas).toHaveLength(3);
  const [command = ''] = (await documented('docs/operations.md', '--profile grafana')).split('\n');
  await stack.shell(command);
  await stack.up();
  expect((await stack.containers('gateway')).sort()).toEqual(replicas);
});

test('no container has a volume without a name, which `down` would leave behind', async () => {
  const format = '{{range .Mounts}}{{if eq .Type "volume"}}{{println .Name}}{{end}}{{end}}';
  const names = (await docker('inspect', '--format', format, ...(await stack.allContainers()))).split('\n');
  const volumes = new Set(names.filter(Boolean));
  const expected = ['secrets', 'redis', 'prometheus', 'grafana'].map((name) => `${stack.project}_${name}`);
  expect([...volumes].sort()).toEqual(expected.sort());
});

test('the client of the README runs with nothing but Node, and gets its message', async () => {
  const snippet = await documented('README.md', 'roomcast token');
  const output = await stack.shell(snippet.replace('ws://127.0.0.1:8080/ws', door.url));
  const frames = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string });
  expect(frames.map(({ type }) => type).sort()).toEqual(['message', 'ok', 'ok', 'welcome']);
});

test('the commands of the command line work in the image as they are documented', async () => {
  const output = await stack.shell(await documented('docs/cli.md', 'docker-compose'));
  expect(output).toMatch(/^GATEWAY_REDIS_URL +\*\*\* +environment$/m);
  expect(output).toMatch(/^GATEWAY_JWT_SECRET +\*\*\* +file \/run\/roomcast\/jwt-secret$/m);
  expect(output).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/m);
  expect(output).toContain('/healthz answers');
  expect(output).toMatch(/^NODE +.*CONNECTIONS/m);
});

test('a token minted in a replica is welcomed, and grants what it says', async () => {
  const mint = ['roomcast', 'token', '--user', 'alice', '--ttl', '60'];
  const token = await stack.exec(...mint, '--rooms', '{"orders:*":["subscribe","publish"]}');
  const alice = await connect(door.url, { token: token.trim() });
  expect((await alice.next('welcome')).user).toBe('alice');
  await alice.subscribe('orders:1');
  await alice.publish('orders:1', 'tea');
  expect((await alice.next('message')).data).toBe('tea');
  await expect(alice.subscribe('elsewhere')).rejects.toThrow('forbidden');
  await expect(stack.exec(...mint, '--rooms', 'orders')).rejects.toThrow('--rooms is not JSON');
});

test('what any of 100 clients on three replicas publishes, all receive once, in one order', async () => {
  const nodes = byNode(members);
  expect(nodes.size).toBe(3);
  for (const [node, group] of nodes) expect(group.length, `connections of ${node}`).toBeGreaterThan(20);
  expectOneOrder(await publishRound(members, room, (sent) => sent < 300));
});

test('the load balancer itself refuses every admin path, however it is written', async () => {
  const { host, hostname, port } = new URL(door.url);
  const ask = async (path: string, method = 'GET') => {
    // By node:http, because fetch would tidy the path up.
    const question = request({ hostname, port, path, method, headers: { host } }).end();
    const [answer] = (await once(question, 'response')) as [IncomingMessage];
    return `${answer.statusCode} ${await text(answer)}`;
  };
  expect(await ask('/healthz')).toMatch(/^200 /);
  for (const name of ['metrics', 'readyz', 'admin', 'api', 'api/stats', 'debug', 'METRICS', 'Api/stats', '%6detrics']) {
    for (const path of [
      `/${name}`,
      `//${name}`,
      `/${name}/`,
      `/./${name}`,
      `/ws/../${name}`,
      `http://${host}/${name}`,
    ]) {
      expect(await ask(path), path).toMatch(refusalOfHaproxy);
    }
  }
  expect(await ask('/metrics?/ws')).toMatch(refusalOfHaproxy);
  expect(await ask('/metrics', 'POST')).toMatch(refusalOfHaproxy);
  expect(await ask('http://gateway:8081/metrics')).toMatch(/^40[04] <html>/);
});

test('Prometheus holds connections and ping latency of each replica', async () => {
  await until(async () => (await prometheus.healthyTargets()).length === 3, 60_000, 'three targets');
  const connections = await until(
    async () => {
      const series = await prometheus.query('gateway_connections');
      return series.reduce((sum, { value }) => sum + Number(value[1]), 0) === members.length && series;
    },
    60_000,
    'Prometheus counts 100 connections',
  );
  expect(connections).toHaveLength(3);
  const measured = () => prometheus.query('gateway_ping_rtt_seconds_count > 0');
  await until(async () => (await measured()).length === 3, 60_000, 'round trips measured on each replica');
});

test('Prometheus holds the metrics of HAProxy, without the places that no replica has, and those of Redis', async () => {
  await until(async () => (await prometheus.healthyTargets('haproxy')).length === 1, 60_000, 'HAProxy is scraped');
  const servers = await prometheus.query('haproxy_server_status{proxy="gateways", state="UP"} == 1');
  expect(servers).toHaveLength(3);
  expect(
    await prometheus.query('count by (instance) (haproxy_server_status{proxy="gateways", state="UP"}) < 10'),
  ).toHaveLength(1);
  const memory = () => prometheus.query('gateway_redis_memory_used_bytes > 0');
  await until(async () => (await memory()).length === 3, 60_000, 'each replica tells of Redis');
  expect((await prometheus.query('max(gateway_redis_memory_limit_bytes)'))[0]?.value[1]).toBe(String(2 ** 30));
  expect((await prometheus.query('min(gateway_redis_aof_enabled * gateway_redis_aof_ok)'))[0]?.value[1]).toBe('1');
});

test('the nodes that the dashboard offers have the names of the replicas', async () => {
  const query = (await dashboardQueries()).get('$node') ?? '';
  const offered = (await prometheus.query(query)).map(({ metric }) => metric.node ?? '');
  expect(offered.sort()).toEqual([...byNode(members).keys()].sort());
});

test('two more replicas are taken by HAProxy and Prometheus without a restart, and then counted as wanted', async () => {
  const services = async () => [...(await stack.containers('haproxy')), ...(await stack.containers('prometheus'))];
  const started = async () => docker('inspect', '--format', '{{.Id}} {{.State.StartedAt}}', ...(await services()));
  const before = await started();
  const [, command = ''] = (await documented('README.md', 'ROOMCAST_REPLICAS=5')).split('\n');
  const [more = '', tell = ''] = command.split(' && ');
  stack.settings.ROOMCAST_REPLICAS = '5';
  await stack.shell(more);
  const newcomers = await enterUntilNodes(2, members);
  await until(async () => (await prometheus.healthyTargets()).length === 5, 60_000, 'five targets');
  expect(await started()).toBe(before);
  expect(members.every(({ client }) => client.socket.readyState === client.socket.OPEN)).toBe(true);
  await Promise.all(newcomers.map(({ client }) => client.subscribe(room)));
  expectOneOrder(await publishRound([...members, ...newcomers], room, (sent) => sent < 100));
  await leave(newcomers);
  await stack.shell(tell);
  prometheus = new Prometheus(await stack.address('prometheus', 9090));
  const wanted = async () => (await prometheus.query('gateway:replicas_wanted'))[0]?.value[1];
  await until(async () => (await wanted()) === '5', 30_000, 'Prometheus knows of five');
  await until(async () => (await prometheus.healthyTargets()).length === 5, 60_000, 'five targets');
});

test('a killed replica cuts off its own clients only, for less than 1.5 s; the others notice nothing', async () => {
  const [[node = '', victims = []] = []] = byNode(members);
  const survivors = members.filter((member) => !victims.includes(member));
  const container = await containerOfNode(node);
  let cut = false;
  const comeBack = async ({ client }: Member) => {
    expect((await client.closed).code).toBe(1006);
    const began = performance.now();
    const member = await enter(door);
    return { member, awayMs: performance.now() - began };
  };
  const kill = async () => {
    const returning = victims.map(comeBack);
    await docker('kill', container);
    const returned = await Promise.all(returning);
    cut = true;
    return returned;
  };
  const [round, returned] = await Promise.all([publishRound(survivors, room, (sent) => !cut || sent < 100), kill()]);
  expectOneOrder(round);
  // With `timeout connect 2s` those who were sent to the dead one, because it was the emptiest, were away for 2 s.
  expect(Math.max(...returned.map(({ awayMs }) => awayMs))).toBeLessThan(1_500);
  expect(survivors.every(({ client }) => client.socket.readyState === client.socket.OPEN)).toBe(true);
  const gaps = survivors.flatMap(({ client }) => client.frames.filter((frame) => frame.type === 'gap'));
  expect(gaps).toEqual([]);
  const again = returned.map(({ member }) => member);
  await Promise.all(again.map(({ client }) => client.subscribe(room)));
  expectOneOrder(await publishRound([...survivors, ...again], room, (sent) => sent < 100));
  members = survivors;
});

test('a replica that is gone raises an alert within two minutes', async () => {
  const fires = async () => (await prometheus.firingAlerts()).includes('GatewayReplicasMissing');
  await until(fires, 120_000, 'GatewayReplicasMissing fires');
  expect(await prometheus.firingAlerts()).not.toContain('GatewayDown');
  const seen = await stack.shell(await documented('docs/operations.md', 'ALERTS{alertstate'));
  expect(seen).toMatch(/^ALERTS\{alertname="GatewayReplicasMissing".*severity="critical"\} => 1 @/m);
});

test('a stopped replica says 4001 to its clients and exits with 0', async () => {
  const [[node = '', leaving = []] = []] = byNode(members);
  const container = await containerOfNode(node);
  await docker('stop', '-t', '30', container);
  for (const { client } of leaving) expect((await client.closed).code).toBe(4001);
  expect((await docker('inspect', '--format', '{{.State.ExitCode}}', container)).trim()).toBe('0');
  members = members.filter((member) => !leaving.includes(member));
  expectOneOrder(await publishRound(members, room, (sent) => sent < 100));
});

test('while Redis is away nobody is cut off; when it is back, members are told that something may have passed by, and go on', async () => {
  const [redis = ''] = await stack.containers('redis');
  await docker('kill', redis);
  const refused = () => expect(connect(door.url)).rejects.toMatchObject({ status: 503 });
  await until(() => refused().then(() => true), 30_000, 'HAProxy lets nobody new in');
  expect(members.every(({ client }) => client.socket.readyState === client.socket.OPEN)).toBe(true);
  await expect(members[0]?.client.publish(room, 'in vain')).rejects.toThrow('unavailable');
  await docker('start', redis);
  const gaps = await Promise.all(members.map(({ client }) => client.next('gap', 30_000)));
  for (const gap of gaps) expect(gap).toEqual({ type: 'gap', room, reason: 'backplane', count: 0 });
  await until(async () => leave([await enter(door)]), 30_000, 'HAProxy lets clients in again');
  for (const [node, [member]] of byNode(members)) {
    await until(() => member?.client.publish('chat:nobody', 'back'), 5_000, `${node} takes messages again`);
  }
  expectOneOrder(await publishRound(members, room, (sent) => sent < 100));
});

test('every query of the dashboard and the alerts works and asks for metrics that exist', async () => {
  const onlyWithTls = 'gateway_certificate_not_after_seconds';
  const onlyWithCallback = ['gateway_callback_seconds_count', 'gateway_callback_seconds_bucket'];
  const names = [...(await dashboardQueries()).keys()];
  for (const other of ['Deploys', 'New epochs', '$node']) expect(names).toContain(other);
  const exposed = [...(await prometheus.exposedNames()), onlyWithTls, ...onlyWithCallback];
  const dashboard = await dashboardQueries();
  const alerts = await prometheus.alertQueries();
  expect(alerts.size).toBeGreaterThan(10);
  for (const [name, query] of [...dashboard, ...alerts]) {
    await prometheus.query(query);
    const names = metricNames(query);
    expect(names, name).not.toEqual([]);
    for (const metric of names) expect(exposed, name).toContain(metric);
  }
  expect(metricNames('sum by (code) (rate(gateway_a{b="c"}[5m])) * 2 > 1e6 and d:e')).toEqual(['gateway_a', 'd:e']);
  const blank = async () => {
    // What counts trouble is empty without it.
    const shown = [...dashboard].filter(
      ([, query]) =>
        !/> 0$|\(ALERTS\)$/.test(query) && !metricNames(query).some((name) => onlyWithCallback.includes(name)),
    );
    const results = await Promise.all(shown.map(([, query]) => prometheus.query(query)));
    return shown.map(([name]) => name).filter((_, index) => results[index]?.length === 0);
  };
  await expect.poll(blank, { timeout: 60_000, interval: 1000 }).toEqual([]);
});

test('each alert fires when its trouble is there, and none when all is well', async () => {
  const tests = `${join(repository, 'test/compose')}:/tests:ro`;
  const promtool = ['run', '--rm', '--no-deps', '--entrypoint', 'promtool', '--volume', tests, 'prometheus'];
  for (const file of ['alerts', 'budget']) {
    expect(await stack.compose([...promtool, 'test', 'rules', `/tests/${file}.yml`])).toContain('SUCCESS');
  }
  const tested = await readFile(join(repository, 'test/compose/alerts.yml'), 'utf8');
  for (const name of (await prometheus.alertQueries()).keys()) expect(tested).toContain(`alertname="${name}"`);
});

test('what HAProxy logs has the time in front, says where a connection went, and holds no token', async () => {
  await fetch(`${new URL(door.url.replace('ws:', 'http:')).origin}/healthz?token=secret`);
  const [container = ''] = await stack.containers('haproxy');
  const lines = (await docker('logs', container)).split('\n').filter(Boolean);
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 /;
  expect(lines.filter((line) => !time.test(line))).toEqual([]);
  const request = / client=[\d.]+:\d+ method=GET path=\/ws status=101 server=gateway\d+ ended=.{4} retries=0 /;
  expect(lines.some((line) => request.test(line))).toBe(true);
  expect(lines.filter((line) => line.includes('path=/healthz '))).not.toEqual([]);
  expect(lines.filter((line) => /token|secret|eyJ/.test(line))).toEqual([]);
});

test('40 servers more all get requests: HAProxy has places for them, and the DNS answer is not cut', async () => {
  await leave(members.splice(0));
  await mkdir(join(stack.scratch, 'server'));
  const answers = 'http-request return status 200 hdr X-Server "%[env(HOSTNAME)]"';
  const configuration = `defaults\n  mode http\n  timeout client 5s\nfrontend one\n  bind :8080\n  bind :8081\n  ${answers}\n`;
  await writeFile(join(stack.scratch, 'server/haproxy.cfg'), configuration);
  // Forty gateways would be too much for a small machine; to HAProxy and to the DNS these are the same.
  const server = {
    image: 'haproxy:2.6-bookworm',
    stop_signal: 'SIGTERM',
    networks: { default: { aliases: ['gateway'] } },
    volumes: [`${stack.scratch}/server:/usr/local/etc/haproxy:ro`],
  };
  await stack.override('server', { services: { server } });
  await stack.up('--no-deps', '--no-recreate', '--scale', 'server=40', 'server');
  const { origin } = new URL(door.url.replace('ws:', 'http:'));
  const seen = new Set<string>();
  const everybody = async () => {
    const { headers } = await fetch(`${origin}/healthz`);
    seen.add(headers.get('x-server') ?? '');
    return seen.size > 40;
  };
  await until(everybody, 60_000, 'each of 40 servers, and a gateway, has answered');
  await stack.compose(['rm', '--force', '--stop', 'server']);
});

test('Redis counts as healthy only while writes work', async () => {
  const [redis = ''] = await stack.containers('redis');
  const healthIs = (wanted: string) => {
    const health = async () => (await docker('inspect', '--format', '{{.State.Health.Status}}', redis)).trim();
    return until(async () => (await health()) === wanted, 60_000, `Redis counts as ${wanted}`);
  };
  await healthIs('healthy');
  await docker('exec', redis, 'redis-cli', '-e', 'config', 'set', 'maxmemory', '1');
  await healthIs('unhealthy');
  expect((await docker('exec', redis, 'redis-cli', 'ping')).trim()).toBe('PONG');
  await docker('exec', redis, 'redis-cli', '-e', 'config', 'set', 'maxmemory', '1gb');
  await healthIs('healthy');
});
