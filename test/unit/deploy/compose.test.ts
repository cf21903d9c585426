/** docker-compose.yml: what its services may do to the machine. test/compose shows that they run so. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';

interface Service {
  cap_drop?: string[];
  cap_add?: string[];
  security_opt?: string[];
  read_only?: boolean;
  user?: string;
  privileged?: boolean;
  network_mode?: string;
}

const file = readFileSync(new URL('../../../docker-compose.yml', import.meta.url), 'utf8');
const services = Object.entries(parse(file, { merge: true }).services as Record<string, Service>);

test.each(services)('%s drops all capabilities and can gain none', (name, service) => {
  expect(service.cap_drop).toEqual(['ALL']);
  expect(service.security_opt).toEqual(['no-new-privileges:true']);
  expect(service.privileged).toBeUndefined();
  // It runs once, without a network, and writes the secrets of other users.
  expect(service.cap_add).toEqual(name === 'secrets' ? ['CHOWN', 'DAC_OVERRIDE'] : undefined);
  expect(service.network_mode).toBe(name === 'secrets' ? 'none' : undefined);
});

test('every service that always runs has a read-only file system', () => {
  // Grafana writes beside its volume, and is started by hand only.
  const writable = services.filter(([, { read_only }]) => read_only !== true).map(([name]) => name);
  expect(writable).toEqual(['grafana']);
});
