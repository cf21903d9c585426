/**
 * gateway/setting-names.ts, by way of gateway/config.ts: names in the environment that are no settings are mistakes, unless
 * Kubernetes put them there.
 */
import { describe, expect, test } from 'vitest';
import { readConfig } from '../../../gateway/config.ts';
import { mistakesOf, read, secret } from './configuration.ts';

describe('names', () => {
  test('that are no setting are mistakes; those without the prefix are nobody’s business', () => {
    expect(mistakesOf({ JWT_SECERT: 'x', REDIS_URI: '' })).toHaveLength(2);
    expect(readConfig({ GATEWAY_JWT_SECRET: secret, REDIS_URL: 'x', PATH: '/bin', PORT: '1' }).port).toBe(8080);
    expect(mistakesOf({ 'port ': '1', port: '1' })).toHaveLength(2);
  });

  test('that Kubernetes makes of services named gateway and gateway-… are ignored, with one warning', () => {
    const config = read({
      PORT: 'tcp://10.0.0.7:80',
      PORT_80_TCP: 'tcp://10.0.0.7:80',
      PORT_80_TCP_ADDR: '10.0.0.7',
      SERVICE_HOST: '10.0.0.7',
      SERVICE_PORT: '80',
      ADMIN_PORT: 'tcp://[fd00::7]:8081',
      ADMIN_PORT_8081_TCP: 'tcp://[fd00::7]:8081',
      ADMIN_PORT_8081_TCP_PROTO: 'tcp',
      ADMIN_PORT_8081_TCP_PORT: '8081',
      ADMIN_PORT_8081_TCP_ADDR: 'fd00::7',
      ADMIN_SERVICE_PORT_HTTP_METRICS: '8081',
      REDIS_MASTER_PORT: 'udp://10.0.0.8:6379',
      REDIS_MASTER_PORT_6379_UDP: 'udp://10.0.0.8:6379',
      REDIS_MASTER_SERVICE_HOST: '10.0.0.8',
    });
    expect(config).toMatchObject({ port: 8080, adminPort: 8081 });
    expect(config.warnings).toEqual([
      expect.stringMatching(/GATEWAY_PORT, .*GATEWAY_ADMIN_PORT, .* and 4 more: ignored, as Kubernetes service links/),
    ]);
  });

  test.each([
    ['REDIS_PORT', '6379'],
    ['REDIS_MASTER_HOST', '10.0.0.8'],
    ['PORT_HTTP', '80'],
    ['PORT_80_HTTP', '80'],
    ['SERVICE', '10.0.0.7'],
    ['SERVICE_PORTS', '80'],
  ])('that only look like them are mistakes: %s=%s', (name, value) => {
    expect(mistakesOf({ [name]: value })).toEqual([expect.stringContaining(`GATEWAY_${name} is not a setting`)]);
  });

  test.each([
    ['JWT_SECERT', 'JWT_SECRET'],
    ['PROT', 'PORT'],
    ['REDIS_URI', 'REDIS_URL'],
    ['MAX_CONECTIONS', 'MAX_CONNECTIONS'],
    ['JWKS_URL', 'JWT_JWKS_URL'],
    ['JWT_SECRET_FIEL', 'JWT_SECRET_FILE'],
    ['Log_Level', 'LOG_LEVEL'],
  ])('with a typing error get the one that may be meant: %s', (name, meant) => {
    expect(mistakesOf({ [name]: 'x' })).toEqual([`GATEWAY_${name} is not a setting; is GATEWAY_${meant} meant?`]);
  });

  test.each(['DATABASE', 'X', '', 'TIMEOUT'])('that are like no other are told where all are listed: %j', (name) => {
    expect(mistakesOf({ [name]: 'x' })).toEqual([
      `GATEWAY_${name} is not a setting; docs/configuration.md lists them all.`,
    ]);
  });
});
