/** docs/inputs.md: its inputs and backends for RabbitMQ and Kafka work as they are written. Only the ports are others: free ones. */
import { execFileSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join as path } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { blocksOf } from '../integration/documented-node.ts';
import { folder, writeFile } from '../integration/files.ts';
import { dataOf, join } from '../integration/people.ts';
import { kafkaClient, kafkaJars, ownKafka } from '../support/kafka.ts';
import { startNode } from '../support/node.ts';
import { hasRabbit, ownRabbit } from '../support/rabbitmq.ts';
import { until } from '../support/until.ts';

const page = readFileSync(new URL('../../docs/inputs.md', import.meta.url), 'utf8');
const modules = fileURLToPath(new URL('../../node_modules', import.meta.url));
const jars = kafkaJars();

/** The last blocks of JSON and of JavaScript that name this. */
function blocksAbout(word: string, here: (text: string) => string): { input: string; backend: string } {
  const about = blocksOf(page).filter(({ text }) => text.includes(word));
  const text = (language: string) => here(about.find((block) => block.language === language)?.text ?? '');
  return { input: text('json'), backend: text('js') };
}

async function tryOut({ input, backend }: { input: string; backend: string }): Promise<void> {
  const node = await startNode({ INPUTS_FILE: writeFile('inputs.json', input) });
  const member = await join(node, 'ann', 'demo:lobby');
  const place = folder();
  symlinkSync(modules, path(place, 'node_modules'));
  writeFileSync(path(place, 'backend.mjs'), backend);
  execFileSync(process.execPath, ['backend.mjs'], { cwd: place, timeout: 30_000 });
  await until(() => dataOf(member, 'demo:lobby').length === 1, 30_000, 'the message came');
  expect(dataOf(member, 'demo:lobby')).toEqual(['your order is ready']);
}

test.skipIf(!hasRabbit)('what the backend of the page sends to RabbitMQ comes to the room', async () => {
  const { url } = await ownRabbit();
  await tryOut(blocksAbout('5672', (text) => text.replaceAll('amqp://guest:guest@127.0.0.1:5672', url)));
});

test.skipIf('missing' in jars)('what the backend of the page sends to Kafka comes to the room', async () => {
  const { broker } = await ownKafka('folder' in jars ? jars.folder : '');
  const admin = kafkaClient(broker).admin();
  await admin.connect();
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic: 'events' }, { topic: 'events.parked' }] });
  await admin.disconnect();
  await tryOut(blocksAbout('9092', (text) => text.replaceAll('127.0.0.1:9092', broker)));
});
