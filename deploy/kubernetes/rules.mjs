/**
 * Prints rules.yaml: deploy/prometheus/alerts.yml as a PrometheusRule, with the number of replicas that Kubernetes wants in the
 * place of ROOMCAST_REPLICAS. `npm run kubernetes:rules` writes the file; a test keeps it equal.
 */
import { readFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';

const alerts = parse(readFileSync(new URL('../prometheus/alerts.yml', import.meta.url), 'utf8'));
const wanted = {
  name: 'wanted',
  // From kube-state-metrics.
  rules: [
    {
      record: 'gateway:replicas_wanted',
      expr: 'sum(kube_deployment_spec_replicas{namespace="roomcast", deployment="gateway"})',
    },
  ],
};
const rule = {
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'PrometheusRule',
  metadata: { name: 'gateway', labels: { 'app.kubernetes.io/name': 'gateway' } },
  spec: { groups: [wanted, ...alerts.groups] },
};
process.stdout.write('# Written by `npm run kubernetes:rules` from deploy/prometheus/alerts.yml. Change that one.\n');
process.stdout.write(stringify(rule, { lineWidth: 0 }));
