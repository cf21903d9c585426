/** docs/kubernetes.md: what it lets the reader write fits the base. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { settings } from '../../../gateway/settings.ts';
import { find, manifests } from './manifests.ts';

const page = readFileSync(new URL('../../../docs/kubernetes.md', import.meta.url), 'utf8');
const blocks = (language: string) =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, text = '']) => text);
const [overlay, patch, patches, rules, adapter] = blocks('yaml').map((text) => parse(text));

test('the overlay names the image and the Secret of the base, and the base where it is', () => {
  const pod = find('Deployment', 'gateway').spec.template.spec;
  expect(overlay.images[0].name).toBe(pod.containers[0].image);
  expect(overlay.secretGenerator[0].name).toBe(pod.volumes[0].secret.secretName);
  expect(overlay.resources).toEqual(['../roomcast/deploy/kubernetes']);
  expect(rules.configMapGenerator[0].name).toBe(pod.volumes[1].configMap.name);
});

test('the keys of the Secret are those that the pods read', () => {
  const script = blocks('sh').find((text) => text.includes('secrets.env')) ?? '';
  const keys = [...script.matchAll(/^([\w-]+)=/gm)].map(([, key]) => key);
  const { env } = find('Deployment', 'gateway').spec.template.spec.containers[0];
  const files = env.map(({ value = '' }) => value).filter((value: string) => value.startsWith('/run/roomcast/'));
  expect(keys).toEqual(files.map((path: string) => path.split('/').at(-1)));
});

test('the patches are of what is there, and set what exists', () => {
  expect(patch.metadata.name).toBe('gateway');
  const names = Object.values(settings).map(({ name }) => name);
  for (const { name } of patch.spec.template.spec.containers[0].env) {
    expect(names).toContain(name.replace('GATEWAY_', '').replace(/_FILE$/, ''));
  }
  for (const { target, patch: text } of patches.patches.slice(1)) {
    const { kind, metadata } = parse(text);
    expect(find(kind, metadata.name).kind).toBe(target.kind);
  }
});

test('the adapter serves the metric that the autoscaler asks for', () => {
  const [{ pods }] = find('HorizontalPodAutoscaler', 'gateway').spec.metrics;
  expect(adapter.rules.custom[0].seriesQuery).toMatch(new RegExp(`^${pods.metric.name}\\{`));
});

test('the page has a row for each file of the base', () => {
  const rows = [...page.matchAll(/^\| (`.*?`) \|/gm)].flatMap(([, names = '']) =>
    names.replaceAll('`', '').split(', '),
  );
  for (const file of manifests.keys()) if (file !== 'namespace.yaml') expect(rows).toContain(file);
});

test('labels that the page names are those of the policies', () => {
  const text = JSON.stringify(find('NetworkPolicy', 'gateway'));
  for (const label of ['roomcast.dev/backend', 'app.kubernetes.io/name":"prometheus', 'metadata.name":"monitoring']) {
    expect(text).toContain(label);
  }
});
