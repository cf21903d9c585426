/** Clients of Centrifugo through HAProxy with the rules of deploy/haproxy/haproxy.cfg: each form works, and nothing is held back. */
import { beforeAll, expect, test } from 'vitest';
import { connectBy, encode, forms } from '../integration/centrifugo-http.ts';
import { connectAs, startCentrifugo, subscribe } from '../integration/centrifugo-member.ts';
import { randomRoom } from '../integration/people.ts';
import { httpRequest } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';
import { type Haproxy, startHaproxy } from './haproxy.ts';
import { answerTo } from './target.ts';

let haproxy: Haproxy & { url: string };

beforeAll(async () => {
  const node = await startCentrifugo({ TRUSTED_PROXIES: '127.0.0.1' });
  const started = await startHaproxy(node);
  haproxy = { ...started, url: `ws://127.0.0.1:${started.port}/ws` };
});

test.each(['WebSocket', ...forms])('by %s each publish comes at once', async (form) => {
  const http = forms.find((each) => each === form);
  const client = await (http === undefined ? connectAs(haproxy, 'guest') : connectBy(http, 'guest', haproxy));
  const member = await subscribe(client, randomRoom('kept'));
  let fastestMs = Number.POSITIVE_INFINITY;
  for (let data = 1; data <= 10; data++) {
    const began = performance.now();
    await member.subscription.publish(http === undefined ? data : encode(http, data));
    await until(() => member.publications.length === data, 5_000, 'it comes');
    fastestMs = Math.min(fastestMs, performance.now() - began);
  }
  // Without `option http-no-delay` each one takes 200 ms.
  expect(fastestMs).toBeLessThan(150);
});

test.each([
  ...[
    '/emulation/',
    '/emulationx',
    '//emulation',
    '/%65mulation',
    '/EMULATION',
    '/emulation/../metrics',
    '/emulation;x',
  ],
  ...['/connection', '/connection/', '/connection/ssex', '/connection/%73se', '/connection/sse/', '/x/connection/sse'],
])('%s is 404 at HAProxy', async (path) => {
  for (const method of ['GET', 'POST']) {
    const response = await answerTo(haproxy, httpRequest({ method, path, headers: { Host: 'localhost' } }));
    expect([method, response.status]).toEqual([method, 404]);
    expect(response.head).not.toMatch(/uwebsockets/i);
  }
});
