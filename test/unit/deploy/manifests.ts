/**
 * The manifests of deploy/kubernetes/ as objects, and a check against the schemas of Kubernetes and of the Prometheus operator.
 *
 * Owns the way in which an unknown field is found: the validators of kubernetes-models ignore fields that they do not know, as
 * JSON Schema does. But they read every field that they know, so one that was never read is unknown.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { PodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor';
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import { Deployment } from 'kubernetes-models/apps/v1/Deployment';
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2/HorizontalPodAutoscaler';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget';
import { Namespace } from 'kubernetes-models/v1/Namespace';
import { Service } from 'kubernetes-models/v1/Service';
import { parseAllDocuments } from 'yaml';

export const folder = new URL('../../../deploy/kubernetes/', import.meta.url);

// biome-ignore lint/suspicious/noExplicitAny: a manifest has the form that its schema says, which is what is tested.
export type Manifest = Record<string, any>;

/** By apiVersion and kind. */
const models = new Map(
  [
    Deployment,
    HorizontalPodAutoscaler,
    Namespace,
    NetworkPolicy,
    PodDisruptionBudget,
    PodMonitor,
    PrometheusRule,
    Service,
  ].map((model) => {
    const { apiVersion, kind } = new (model as new (data: object) => Manifest)({});
    return [`${apiVersion} ${kind}`, model as unknown as new (data: object) => { validate(): void }];
  }),
);

/** All documents of a file. A mistake of YAML, a doubled key included, throws. */
export function documentsOf(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    const [mistake] = [...('errors' in document ? document.errors : [])];
    if (mistake !== undefined) throw mistake;
    return document.toJS() as Manifest;
  });
}

/** By the name of their file. */
export const manifests = new Map(
  readdirSync(folder)
    .filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml')
    .map((name) => [name, documentsOf(readFileSync(new URL(name, folder), 'utf8'))]),
);

export function find(kind: string, name: string): Manifest {
  const found = [...manifests.values()].flat().filter((each) => each.kind === kind && each.metadata.name === name);
  if (found.length !== 1) throw new Error(`there are ${found.length} of ${kind} ${name}`);
  return found[0] as Manifest;
}

/** What is wrong with it. */
export function mistakesOf(manifest: Manifest): string[] {
  const model = models.get(`${manifest.apiVersion} ${manifest.kind}`);
  if (model === undefined) return [`no schema of ${manifest.apiVersion} ${manifest.kind}`];
  const read = new Set<string>();
  const object = new model({});
  Object.assign(
    object,
    Object.fromEntries(Object.entries(manifest).map(([name, value]) => [name, watch(value, name, read)])),
  );
  try {
    object.validate();
  } catch (error) {
    return [(error as Error).message];
  }
  for (const name of ['apiVersion', 'kind', 'metadata', 'spec']) read.add(name);
  return pathsOf(manifest)
    .filter((path) => !read.has(path))
    .map((path) => `${path} is unknown`);
}

/** Adds the path of every field that is read. */
function watch(value: unknown, path: string, read: Set<string>): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return new Proxy(value, {
    get(target, name) {
      const field = Reflect.get(target, name);
      if (typeof name === 'symbol' || !Object.hasOwn(target, name)) return field;
      read.add(`${path}.${name}`);
      return watch(field, `${path}.${name}`, read);
    },
  });
}

function pathsOf(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, field]) => {
    const own = path === '' ? name : `${path}.${name}`;
    return [own, ...pathsOf(field, own)];
  });
}
