/**
 * deploy/kubernetes/: every manifest has the form of its schema without an unknown field, and they fit each other, the settings of
 * the gateway, the image and the rest of deploy/.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { readConfig } from '../../../gateway/config.ts';
import { settingPrefix, settings } from '../../../gateway/settings.ts';
import { find, folder, type Manifest, manifests, mistakesOf } from './manifests.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, folder), 'utf8');
const all = [...manifests].flatMap(([file, documents]) =>
  documents.map((manifest) => [`${file}: ${manifest.kind} ${manifest.metadata.name}`, manifest] as const),
);
const podOf = (name: string): Manifest => find('Deployment', name).spec.template;
const containerOf = (name: string): Manifest => podOf(name).spec.containers[0];
const policies = ['gateway', 'haproxy'].map((name) => find('NetworkPolicy', name));

describe('schemas', () => {
  test.each(all)('%s has the form of its schema, and no unknown field', (_, manifest) => {
    expect(mistakesOf(manifest)).toEqual([]);
  });

  test('an unknown field, a wrong type and a missing field are found', () => {
    const wrong = structuredClone(find('Deployment', 'gateway'));
    wrong.spec.template.spec.containers[0].readinesProbe = {};
    expect(mistakesOf(wrong)).toEqual(['spec.template.spec.containers.0.readinesProbe is unknown']);
    wrong.spec.template.spec.containers[0].ports[0].containerPort = 'public';
    expect(mistakesOf(wrong)[0]).toMatch(/containerPort must be integer/);
    const monitor = structuredClone(find('PodMonitor', 'gateway'));
    monitor.spec.podMetricsEndpoints[0].scrapeinterval = '10s';
    expect(mistakesOf(monitor)).toEqual(['spec.podMetricsEndpoints.0.scrapeinterval is unknown']);
    expect(mistakesOf({ ...find('PodMonitor', 'gateway'), specs: {} })).toEqual(['specs is unknown']);
    const { selector: _, ...rest } = find('PodDisruptionBudget', 'gateway').spec;
    expect(mistakesOf({ ...find('Deployment', 'gateway'), spec: rest })[0]).toMatch(/required/);
  });

  test('the kustomization names every file of its folder, and only what is there', () => {
    const { resources } = parse(read('deploy/kubernetes/kustomization.yaml'));
    const bases = ['../gateway', '../haproxy'];
    expect([...resources].sort()).toEqual([...bases, ...manifests.keys()].sort());
    for (const base of bases) {
      const path = base.replace('..', 'deploy');
      for (const { files } of parse(read(`${path}/kustomization.yaml`)).configMapGenerator) {
        for (const file of files) expect(read(`${path}/${file}`)).not.toBe('');
      }
    }
  });
});

describe('selectors and ports', () => {
  test.each(['gateway', 'haproxy'])('everything that selects %s selects its pods', (name) => {
    const { labels } = podOf(name).metadata;
    const selectors = all.flatMap(([, { kind, metadata, spec }]) => {
      if (!metadata.name.startsWith(name)) return [];
      if (kind === 'Service') return [spec.selector];
      if (kind === 'NetworkPolicy') return [spec.podSelector.matchLabels];
      return ['Deployment', 'PodDisruptionBudget', 'PodMonitor'].includes(kind) ? [spec.selector.matchLabels] : [];
    });
    expect(selectors.length).toBeGreaterThan(3);
    for (const selector of selectors) expect(selector).toEqual(labels);
    expect(podOf(name).spec.topologySpreadConstraints[0].labelSelector.matchLabels).toEqual(labels);
  });

  test('every port that is named is one of the container', () => {
    const portsOf = (name: string) => containerOf(name).ports.map((port: Manifest) => port.name);
    const named: [string, string][] = [];
    for (const [, { kind, metadata, spec }] of all) {
      const owner = metadata.name.startsWith('haproxy') ? 'haproxy' : 'gateway';
      if (kind === 'Service') for (const { targetPort } of spec.ports) named.push([owner, targetPort]);
      if (kind === 'PodMonitor') for (const { port } of spec.podMetricsEndpoints) named.push([owner, port]);
      if (kind === 'NetworkPolicy') {
        for (const { ports } of spec.ingress) for (const { port } of ports) named.push([owner, port]);
      }
    }
    expect(named.length).toBeGreaterThan(6);
    for (const [owner, port] of named) expect(portsOf(owner), `${owner} ${port}`).toContain(port);
  });

  test('the ports are those of the settings, of the image and of haproxy.cfg', () => {
    const numbers = (name: string) => containerOf(name).ports.map((port: Manifest) => port.containerPort);
    expect(numbers('gateway')).toEqual([8080, 8081]);
    expect(read('deploy/Dockerfile')).toContain('\nEXPOSE 8080 8081\n');
    const rules = read('deploy/haproxy/haproxy.cfg');
    for (const port of numbers('haproxy')) expect(rules).toMatch(new RegExp(`^ *bind :${port}\\b`, 'm'));
    expect(rules).toContain('-gateway}:8080" check port 8081 ');
    const [headless] = find('Service', 'gateway').spec.ports;
    expect([find('Service', 'gateway').spec.clusterIP, headless.port]).toEqual(['None', 8080]);
  });

  test('clients reach HAProxy only; the admin port is for HAProxy, Prometheus and the backend', () => {
    const [gateway, haproxy] = policies as [Manifest, Manifest];
    const reaches = (policy: Manifest, port: string) =>
      policy.spec.ingress.filter(({ ports }: Manifest) => ports.some((each: Manifest) => each.port === port));
    const who = (rules: Manifest[]) =>
      rules.flatMap(({ from = ['anybody'] }) => from).map((each) => JSON.stringify(each).replaceAll(/[^\w./:"-]/g, ''));
    expect(who(reaches(gateway, 'public'))).toEqual([expect.stringMatching(/^"podSelector":.*"haproxy"$/)]);
    expect(who(reaches(gateway, 'admin'))).toEqual([
      expect.stringContaining('"haproxy"'),
      expect.stringContaining('"prometheus"'),
      expect.stringContaining('roomcast.dev/backend'),
    ]);
    expect(who(reaches(haproxy, 'public'))).toEqual(['"anybody"']);
    expect(who(reaches(haproxy, 'state'))).toEqual([expect.stringContaining('"prometheus"')]);
    for (const { spec } of policies) expect(spec.policyTypes).toEqual(['Ingress', 'Egress']);
    const services = all.filter(
      ([, { kind, spec }]) => kind === 'Service' && (spec.type ?? 'ClusterIP') !== 'ClusterIP',
    );
    expect(services.map(([, { metadata }]) => metadata.name)).toEqual(['haproxy']);
  });
});

describe('the pods', () => {
  test('every GATEWAY_ variable is a setting, and the settings are taken', () => {
    const names = Object.values(settings).flatMap(({ name, secret }) => (secret ? [name, `${name}_FILE`] : [name]));
    const variables: Manifest[] = containerOf('gateway').env;
    for (const { name } of variables) expect(names.map((each) => `${settingPrefix}${each}`)).toContain(name);
    const files = variables.filter(({ name }) => name.endsWith('_FILE')).map(({ name }) => name);
    expect(files).toEqual(['REDIS_URL', 'JWT_SECRET', 'API_KEY', 'ROOMS'].map((name) => `GATEWAY_${name}_FILE`));
    const values = variables.filter(({ name }) => !files.includes(name));
    const environment = Object.fromEntries(values.map(({ name, value = 'gateway-6d5c9f7b8-x2k4p' }) => [name, value]));
    const secrets = { GATEWAY_JWT_SECRET: 'x'.repeat(64), GATEWAY_REDIS_URL: 'redis://redis:6379' };
    expect(readConfig({ NODE_ENV: 'production', ...environment, ...secrets }).adminHost).toBe('0.0.0.0');
  });

  test('the files are those of the Secret of the page, and of the room rules', () => {
    const { volumeMounts, env } = containerOf('gateway');
    const [secrets, rooms] = volumeMounts;
    const files = env.filter(({ name }: Manifest) => name.endsWith('_FILE')).map(({ value }: Manifest) => value);
    const keys = files
      .filter((path: string) => path.startsWith(`${secrets.mountPath}/`))
      .map((path: string) => path.split('/').at(-1));
    for (const key of keys) expect(read('docs/kubernetes.md')).toContain(`${key}=`);
    expect(files).toContain(`${rooms.mountPath}/rooms.json`);
    const volumes = podOf('gateway').spec.volumes;
    expect(volumes.map(({ name }: Manifest) => name)).toEqual(volumeMounts.map(({ name }: Manifest) => name));
    const generated = ['gateway', 'haproxy'].flatMap(
      (name) => parse(read(`deploy/${name}/kustomization.yaml`)).configMapGenerator,
    );
    expect(generated.map(({ name }: Manifest) => name)).toEqual([
      volumes[1].configMap.name,
      podOf('haproxy').spec.volumes[0].configMap.name,
    ]);
  });

  test('the time to stop is longer than the longest drain in production', () => {
    const config = readConfig({ NODE_ENV: 'production', GATEWAY_JWT_SECRET: 'x'.repeat(64) });
    const mostMs = config.drainNoticeMs + config.drainMs + 10_000;
    expect(podOf('gateway').spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(mostMs);
    // HAProxy drops a node after two failed checks, a second apart.
    expect(config.drainNoticeMs).toBeGreaterThan(2_000);
  });

  test('only readiness depends on Redis, and no backend that fills the admin port has a pod killed', () => {
    const { startupProbe, livenessProbe, readinessProbe } = containerOf('gateway');
    const asked = [startupProbe, livenessProbe, readinessProbe].map(({ httpGet }) => `${httpGet.port}${httpGet.path}`);
    expect(asked).toEqual(['admin/healthz', 'public/healthz', 'admin/readyz']);
  });

  test('each runs as the user of its image, without rights, and writes nowhere', () => {
    expect(read('deploy/Dockerfile')).toContain(`\nUSER ${podOf('gateway').spec.securityContext.runAsUser}:1000\n`);
    expect(podOf('haproxy').spec.securityContext.runAsUser).toBe(99);
    for (const name of ['gateway', 'haproxy']) {
      const { spec } = podOf(name);
      expect(spec).toMatchObject({
        ...{ enableServiceLinks: false, automountServiceAccountToken: false },
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      });
      expect(spec.containers[0].securityContext).toEqual({
        ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
      });
      expect(spec.containers[0].resources.limits).toEqual({ memory: expect.any(String) });
    }
    const image = containerOf('haproxy').image;
    expect(read('docker-compose.yml')).toContain(`image: ${image}\n`);
  });

  test('two sets of pods, as in a rolling update, have places in HAProxy, and a full one is over the goal of the autoscaler', () => {
    const { spec } = find('HorizontalPodAutoscaler', 'gateway');
    const places = Number(/server-template gateway 1-(\d+) /.exec(read('deploy/haproxy/haproxy.cfg'))?.[1]);
    expect(find('Deployment', 'gateway').spec.strategy.rollingUpdate).toEqual({ maxSurge: '100%', maxUnavailable: 0 });
    expect(2 * spec.maxReplicas).toBeLessThanOrEqual(places);
    expect(find('Deployment', 'gateway').spec.replicas).toBeUndefined();
    const [{ pods }] = spec.metrics;
    const most = containerOf('gateway').env.find(({ name }: Manifest) => name === 'GATEWAY_MAX_CONNECTIONS').value;
    expect(Number(pods.target.averageValue)).toBeLessThan(0.7 * Number(most));
    expect(read('gateway/telemetry/gauges.ts') + read('gateway/telemetry/metrics.ts')).toContain(
      `'${pods.metric.name}'`,
    );
  });
});

test('each job that an alert speaks of has a PodMonitor, and is scraped at the path and with the parameters of deploy/prometheus', () => {
  const jobs = new Set([...read('deploy/prometheus/alerts.yml').matchAll(/job="(\w+)"/g)].map(([, job]) => job));
  const { scrape_configs: scraped } = parse(read('deploy/prometheus/prometheus.yml'));
  for (const job of jobs) {
    const { podMetricsEndpoints } = find('PodMonitor', job ?? '').spec;
    const { params, metrics_path: path = '/metrics' } = scraped.find(({ job_name: name }: Manifest) => name === job);
    expect(podMetricsEndpoints).toMatchObject([{ path, relabelings: [{ targetLabel: 'job', replacement: job }, {}] }]);
    expect(podMetricsEndpoints[0].params).toEqual(params);
  }
  expect([...jobs].sort()).toEqual(['gateway', 'haproxy']);
});

test('rules.yaml holds exactly the alerts of deploy/prometheus: npm run kubernetes:rules writes it', () => {
  const script = fileURLToPath(new URL('rules.mjs', folder));
  expect(read('deploy/kubernetes/rules.yaml')).toBe(execFileSync(process.execPath, [script], { encoding: 'utf8' }));
  const { groups } = parse(read('deploy/prometheus/alerts.yml'));
  expect(find('PrometheusRule', 'gateway').spec.groups.slice(1)).toEqual(groups);
  // What stands in the place of the rule that start.sh writes for compose.
  expect(read('deploy/prometheus/start.sh')).toContain('gateway:replicas_wanted');
});
