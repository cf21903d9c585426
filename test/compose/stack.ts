/**
 * The deployment under test: docker-compose.yml as it stands, as a project with a random name and free ports.
 *
 * Owns the project, its override file and a scratch folder, and takes all of them away again with `down`. Works with
 * docker-compose 1.29 and with the docker compose plugin. Knows nothing of the gateway's protocol.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { succeeds } from '../support/command.ts';

const execute = promisify(execFile);

export const repository = join(import.meta.dirname, '../..');

const commandTimeoutMs = 60_000;
/** Building the image installs the dependencies twice. */
const upTimeoutMs = 600_000;

/** Runs a program and resolves with its standard output; a failure carries what it wrote to standard error. */
export async function run(command: string, args: string[], timeoutMs = commandTimeoutMs): Promise<string> {
  const options = {
    cwd: repository,
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 2 ** 26,
    // Port 0: the engine chooses, and `Stack.address` asks for it.
    env: { ...process.env, ROOMCAST_PORT: '0', ROOMCAST_GRAFANA_PORT: '0' },
  } as const;
  try {
    return (await execute(command, args, options)).stdout;
  } catch (error) {
    const stderr = String((error as { stderr?: unknown }).stderr ?? '').slice(-4000);
    throw new Error(`${command} ${args.join(' ')} failed: ${stderr}`, { cause: error });
  }
}

export const docker = (...args: string[]): Promise<string> => run('docker', args);

/** Compose as a command line: the plugin where it is installed, else docker-compose. Throws one sentence if neither. */
async function composeCommand(): Promise<string[]> {
  if (await succeeds('docker', ['info'], 20_000)) {
    if (await succeeds('docker', ['compose', 'version'], 20_000)) return ['docker', 'compose'];
    if (await succeeds('docker-compose', ['version'], 20_000)) return ['docker-compose'];
  }
  throw new Error('The compose suite needs a running Docker engine and docker-compose or the docker compose plugin.');
}

export class Stack {
  readonly scratch: string;
  readonly #command: string[];
  readonly project = `roomcast-${randomBytes(4).toString('hex')}`;
  readonly #files = [join(repository, 'docker-compose.yml')];

  private constructor(command: string[], scratch: string) {
    this.#command = command;
    this.scratch = scratch;
  }

  static async create(): Promise<Stack> {
    return new Stack(await composeCommand(), await mkdtemp(join(tmpdir(), 'roomcast-compose-')));
  }

  /** Lays another compose file over those so far, for all commands from now on. */
  async override(name: string, content: object): Promise<void> {
    const file = join(this.scratch, `${name}.yml`);
    await writeFile(file, JSON.stringify(content));
    this.#files.push(file);
  }

  /** Runs a compose command in this project, or in a sister project that shares nothing with it. */
  compose(args: string[], { timeoutMs = commandTimeoutMs, project = this.project } = {}): Promise<string> {
    const [program = '', ...first] = this.#command;
    const files = this.#files.flatMap((file) => ['--file', file]);
    const where = ['--project-directory', repository, '--project-name', project];
    return run(program, [...first, ...where, ...files, ...args], timeoutMs);
  }

  async up(...args: string[]): Promise<void> {
    await this.compose(['up', '--detach', ...args], { timeoutMs: upTimeoutMs });
  }

  /** Runs a command in the first running replica. */
  async exec(...command: string[]): Promise<string> {
    const [replica = ''] = await this.containers('gateway');
    return docker('exec', replica, ...command);
  }

  /** Ids of the running containers of a service. */
  async containers(service: string): Promise<string[]> {
    const labels = [`com.docker.compose.project=${this.project}`, `com.docker.compose.service=${service}`];
    const filters = labels.flatMap((label) => ['--filter', `label=${label}`]);
    return (await docker('ps', '--quiet', '--no-trunc', ...filters)).split('\n').filter(Boolean);
  }

  /** Host and port at which a published port of a service can be reached. */
  async address(service: string, port: number): Promise<string> {
    const [container = ''] = await this.containers(service);
    return (await docker('port', container, `${port}/tcp`)).trim();
  }

  /** The end of what all services wrote, for a failure that the test alone cannot explain. */
  logs(): Promise<string> {
    return this.compose(['logs', '--no-color', '--tail', '40']);
  }

  async down(project = this.project): Promise<void> {
    await this.compose(['down', '--volumes', '--remove-orphans', '--rmi', 'local'], { project, timeoutMs: 180_000 });
  }

  async removeScratch(): Promise<void> {
    await rm(this.scratch, { recursive: true, force: true });
  }
}
