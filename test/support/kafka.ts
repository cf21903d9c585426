/**
 * A Kafka of a test's own: one broker in KRaft mode, from the jars of org.apache.kafka, on free ports of the loopback address.
 *
 * Maven brings the jars, once for the machine, into a folder beside the project's. Without Java, Maven or a repository that answers
 * there is no Kafka, and `kafkaJars` is undefined.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { onCleanup } from './cleanup.ts';
import { freePort } from './free-port.ts';
import { endWithThisProcess } from './lifeline.ts';
import { until } from './until.ts';

const version = '3.9.1';
const downloadMs = 240_000;
const startDeadlineMs = 60_000;

export interface OwnKafka {
  broker: string;
  /** The same, over TLS and with a user. Undefined without `Access`. */
  secureBroker: string;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again, with what it has kept. */
  start(): Promise<void>;
}

/** The folder of the jars, or why there is none. */
export function kafkaJars(): { folder: string } | { missing: string } {
  const folder = join(tmpdir(), `roomcast-kafka-${version}`);
  if (existsSync(folder)) return { folder };
  try {
    execFileSync('java', ['-version'], { stdio: 'ignore', timeout: 20_000 });
  } catch {
    return { missing: 'Java is not on this machine' };
  }
  const work = mkdtempSync(join(tmpdir(), 'roomcast-maven-'));
  try {
    writeFileSync(join(work, 'pom.xml'), pom);
    const words = ['-q', '-B', '-f', join(work, 'pom.xml'), 'dependency:copy-dependencies', '-DoutputDirectory=jars'];
    execFileSync('mvn', words, { cwd: work, stdio: 'ignore', timeout: downloadMs });
    renameSync(join(work, 'jars'), folder);
    return { folder };
  } catch {
    return existsSync(folder)
      ? { folder }
      : { missing: 'Maven is not on this machine, or has not brought the jars of Kafka' };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${version}</version>
  </dependency></dependencies>
</project>`;

/** A second port, for TLS with this certificate and a user, who may use each mechanism. */
export interface Access {
  certificate: string;
  key: string;
  username: string;
  password: string;
}

export async function ownKafka(jars: string, access?: Access): Promise<OwnKafka> {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-kafka-'));
  const [port, controller, securePort] = [await freePort(), await freePort(), await freePort()];
  const settings = join(folder, 'server.properties');
  const secure = access === undefined ? [] : accessLines(folder, access);
  writeFileSync(settings, propertiesOf(folder, port, controller, access && securePort, secure));
  const java = (...words: string[]) => ['-Xmx384m', '-cp', join(jars, '*'), ...words];
  mkdirSync(join(folder, 'data'));
  const user = access && `[name=${access.username},password=${access.password}]`;
  const users =
    user === undefined ? [] : ['256', '512'].flatMap((bits) => ['--add-scram', `SCRAM-SHA-${bits}=${user}`]);
  const format = ['format', '-t', 'AAAAAAAAQACAAAAAAAAAAA', '-c', settings, ...users];
  execFileSync('java', java('kafka.tools.StorageTool', ...format), {
    stdio: 'ignore',
    timeout: startDeadlineMs,
  });
  const broker = `127.0.0.1:${port}`;
  let server: ChildProcess | undefined;
  const kill = async () => {
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, 'exit');
    server.kill('SIGKILL');
    await exited;
  };
  const start = async () => {
    server = spawn('java', java('kafka.Kafka', settings), { cwd: folder, stdio: 'ignore' });
    endWithThisProcess(server);
    await until(() => answers(broker), startDeadlineMs, 'Kafka answers');
  };
  onCleanup(async () => {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  });
  await start();
  return { broker, secureBroker: `127.0.0.1:${securePort}`, kill, start };
}

/** A client that says nothing by itself. */
export function kafkaClient(broker: string): Kafka {
  return new Kafka({
    clientId: 'test',
    brokers: [broker],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 100, retries: 2 },
  });
}

async function answers(broker: string): Promise<boolean> {
  const admin = kafkaClient(broker).admin();
  try {
    await admin.connect();
    return (await admin.describeCluster()).brokers.length === 1;
  } finally {
    await admin.disconnect();
  }
}

function accessLines(folder: string, { certificate, key, username, password }: Access): string[] {
  const store = join(folder, 'store.pem');
  writeFileSync(store, readFileSync(key, 'utf8') + readFileSync(certificate, 'utf8'));
  const modules = 'org.apache.kafka.common.security';
  const scram = ['256', '512'].map(
    (bits) => `scram-sha-${bits}.sasl.jaas.config=${modules}.scram.ScramLoginModule required;`,
  );
  const lines = [
    'ssl.keystore.type=PEM',
    `ssl.keystore.location=${store}`,
    'sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    `plain.sasl.jaas.config=${modules}.plain.PlainLoginModule required user_${username}="${password}";`,
    ...scram,
  ];
  return lines.map((line) => `listener.name.secure.${line}`);
}

function propertiesOf(
  folder: string,
  port: number,
  controller: number,
  securePort: number | undefined,
  more: readonly string[],
): string {
  const secure = securePort === undefined ? '' : `,SECURE://127.0.0.1:${securePort}`;
  return [
    'process.roles=broker,controller',
    'node.id=1',
    `controller.quorum.voters=1@127.0.0.1:${controller}`,
    `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}${secure}`,
    `advertised.listeners=PLAINTEXT://127.0.0.1:${port}${secure}`,
    'controller.listener.names=CONTROLLER',
    'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL',
    'inter.broker.listener.name=PLAINTEXT',
    ...more,
    `log.dirs=${join(folder, 'data')}`,
    'offsets.topic.replication.factor=1',
    'offsets.topic.num.partitions=1',
    'transaction.state.log.replication.factor=1',
    'transaction.state.log.min.isr=1',
    'group.initial.rebalance.delay.ms=0',
    'auto.create.topics.enable=false',
    '',
  ].join('\n');
}
