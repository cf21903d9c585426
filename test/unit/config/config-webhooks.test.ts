/** The settings of webhooks: what they mean, and what each mistake is told as. No mistake holds the URL or a secret. */
import { expect, test } from 'vitest';
import { file, mistakesOf, read, secret } from './configuration.ts';

const key = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
const whole = { WEBHOOK_URL: 'https://backend.example/hook', WEBHOOK_SECRET: key };

test('without a URL there are no webhooks; with one, all events but those of connections are sent', () => {
  expect(read()).toMatchObject({ webhookUrl: undefined, webhookSecrets: undefined });
  const config = read(whole);
  expect(config.webhookUrl?.href).toBe('https://backend.example/hook');
  expect(config.webhookSecrets).toEqual([Buffer.alloc(24, 1)]);
  expect(config.webhookEvents).toEqual(['room.occupied', 'room.vacated', 'member.joined', 'member.left']);
});

test('the URL and the secret may be in files, several secrets by comma, events in any order and twice', () => {
  const other = `whsec_${Buffer.alloc(64, 2).toString('base64')}`;
  const config = read({
    WEBHOOK_URL_FILE: file('http://10.0.0.1:9000/\n'),
    WEBHOOK_SECRET_FILE: file(`${key}, ${other}\n`),
    WEBHOOK_EVENTS: ' connection.closed ,room.vacated,connection.closed',
  });
  expect(config.webhookUrl?.href).toBe('http://10.0.0.1:9000/');
  expect(config.webhookSecrets).toEqual([Buffer.alloc(24, 1), Buffer.alloc(64, 2)]);
  expect(config.webhookEvents).toEqual(['connection.closed', 'room.vacated']);
});

const types = 'room.occupied, room.vacated, member.joined, member.left, connection.opened, connection.closed';

test.each([
  [
    { WEBHOOK_URL: 'https://a/' },
    'GATEWAY_WEBHOOK_URL needs GATEWAY_WEBHOOK_SECRET, by which the receiver knows who calls',
  ],
  [{ WEBHOOK_SECRET: key }, 'GATEWAY_WEBHOOK_SECRET has no effect without GATEWAY_WEBHOOK_URL; set both or none.'],
  [
    { WEBHOOK_EVENTS: 'room.vacated' },
    'GATEWAY_WEBHOOK_EVENTS has no effect without GATEWAY_WEBHOOK_URL; set both or none.',
  ],
  [
    { ...whole, WEBHOOK_URL: `ws://${secret}` },
    'GATEWAY_WEBHOOK_URL must be a URL that begins with https:// or http://, and a host.',
  ],
  [
    { ...whole, WEBHOOK_URL: secret },
    'GATEWAY_WEBHOOK_URL must be a URL that begins with https:// or http://, and a host.',
  ],
  [
    { ...whole, WEBHOOK_SECRET: secret },
    'GATEWAY_WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 bytes; try: ',
  ],
  [
    { ...whole, WEBHOOK_EVENTS: 'room.occupied,room.empty' },
    `GATEWAY_WEBHOOK_EVENTS must be a comma list of ${types}, not "`,
  ],
  [{ ...whole, WEBHOOK_EVENTS: ',' }, `GATEWAY_WEBHOOK_EVENTS must be a comma list of ${types}, not ",".`],
])('%o is one mistake: %s', (settings, mistake) => {
  const mistakes = mistakesOf(settings);
  expect(mistakes).toHaveLength(1);
  expect(mistakes[0]).toContain(mistake);
  expect(mistakes[0]).not.toContain(secret);
});
