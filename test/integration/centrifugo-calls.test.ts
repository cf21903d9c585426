/** `rpc` and `send` of Centrifugo's clients: what the operator's backend gets of them, and what its answers become. */
import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { Backend, json } from '../support/backend.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { connectAs, RawClient, startCentrifugo, subscribe } from './centrifugo-member.ts';
import { randomRoom } from './people.ts';

const secret = Buffer.alloc(32, 7);

test('a call reaches the backend once, signed, with its data byte for byte; and so does the answer its client', async () => {
  const bodies: string[] = [];
  const backend = await Backend.start((response, _, request, body) => {
    const [id, time] = [request.headers['webhook-id'], request.headers['webhook-timestamp']];
    const signature = createHmac('sha256', secret).update(`${id}.${time}.${body}`).digest('base64');
    expect(request.headers['webhook-signature']).toBe(`v1,${signature}`);
    bodies.push(body);
    response.setHeader('content-type', 'application/json').end('{"data":{"sum":[1.0,\n12345678901234567890]}}');
  });
  const settings = { RPC_URL: backend.url, RPC_SECRET: `whsec_${secret.toString('base64')}` };
  const node = await startCentrifugo(settings);
  const raw = await RawClient.connect(node, 'guest');
  const texts: string[] = [];
  raw.send('{"id":2,"rpc":{"method":"add","data":{"b":1.0,"a":12345678901234567890}}}');
  await raw.answer(2);
  const [body = ''] = bodies;
  expect(body).toContain('"data":{"b":1.0,"a":12345678901234567890}}');
  const { connection, address, ...rest } = JSON.parse(body);
  expect(rest).toMatchObject({ action: 'rpc', user: 'guest', method: 'add' });
  expect([typeof connection, address]).toEqual(['string', '127.0.0.1']);
  const client = await connectAs(node, 'guest');
  // @ts-expect-error: the transport is not public; it is where the text of a frame can be seen.
  const transport = client._transport._transport as { onmessage: (event: { data: string }) => void };
  const { onmessage } = transport;
  transport.onmessage = (event) => {
    texts.push(event.data);
    onmessage.call(transport, event);
  };
  expect((await client.rpc('add', [1])).data).toEqual({ sum: [1, 12345678901234567000] });
  expect(texts.join()).toContain('"rpc":{"data":{"sum":[1.0, 12345678901234567890]}}');
  await client.send({ seen: 5 });
  await until(() => bodies.length === 3, 5_000, 'the message comes');
  expect(JSON.parse(bodies[2] ?? '')).toMatchObject({ action: 'send', user: 'guest', data: { seen: 5 } });
  expect(await metric(node, 'gateway_rpc_seconds_count{kind="rpc",result="answered"}')).toBe(2);
});

test('calls of a client come one after the other, and hold up nothing else of it', async () => {
  const seen: unknown[] = [];
  const backend = await Backend.start((response, asked) => {
    seen.push((asked as unknown as { data: number }).data);
    json({ data: seen.length })(response, asked, undefined as never, '');
  });
  const node = await startCentrifugo({ RPC_URL: backend.url });
  backend.hold();
  const raw = await RawClient.connect(node, 'guest');
  const room = randomRoom('kept');
  const commands = [1, 2, 3, 4].map((data) => ({ id: 10 + data, rpc: { method: 'count', data } }));
  raw.send([...commands, { id: 20, subscribe: { channel: room } }].map((each) => JSON.stringify(each)).join('\n'));
  await raw.answer(20);
  await until(() => backend.held === 1, 5_000, 'the first one has come');
  for (let count = 0; count < 4; count++) {
    expect(raw.replies.filter(({ rpc }) => rpc !== undefined)).toHaveLength(count);
    await backend.release();
    await raw.answer(11 + count);
  }
  expect(seen).toEqual([1, 2, 3, 4]);
});

test('an error of the backend reaches the client as it is; without an answer it is temporary, and nothing is sent twice', async () => {
  const backend = await Backend.start(json({ error: { code: 1_000, message: 'sold out' } }));
  const node = await startCentrifugo({ RPC_URL: backend.url });
  const client = await connectAs(node, 'guest');
  await expect(client.rpc('buy', null)).rejects.toMatchObject({ code: 1_000, message: 'sold out' });
  const before = backend.asked.length;
  for (const answer of [
    json({ error: { code: 3_000, message: 'no such code' } }),
    json('{'),
    (response: { destroy(): void }) => response.destroy(),
  ]) {
    backend.answer = answer;
    await expect(client.rpc('buy', null)).rejects.toMatchObject({ code: 100, temporary: true });
  }
  expect(backend.asked.length).toBe(before + 3);
  expect(await metric(node, 'gateway_rpc_seconds_count{kind="rpc",result="error"}')).toBe(3);
  expect(await metric(node, 'gateway_rpc_seconds_count{kind="rpc",result="refused"}')).toBe(1);
});

test('without GATEWAY_RPC_URL a call gets 108, and a message without an answer ends the connection with 3508', async () => {
  const node = await startCentrifugo();
  const client = await connectAs(node, 'guest');
  await expect(client.rpc('any', {})).rejects.toMatchObject({ code: 108 });
  await subscribe(client, randomRoom('kept'));
  const raw = await RawClient.connect(node, 'guest');
  raw.send('{"send":{"data":1}}');
  expect(await raw.end()).toBe('3508 not available');
});
