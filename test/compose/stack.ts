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

type Environment = Record<string, string>;

/** Runs a program and resolves with its standard output; a failure carries what it wrote to standard error. */
export async function run(
  command: string,
  args: string[],
  { timeoutMs = commandTimeoutMs, env = {} as Environment } = {},
): Promise<string> {
  const options = {
    cwd: repository,
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 2 ** 26,
    env: { ...process.env, ...env },
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
  /** What an operator would write into `.env`. */
  readonly settings: Environment = {};
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

  /** Lays another compose file over those so far, or in the place of the one of that name, for all commands from now on. */
  async override(name: string, content: object): Promise<void> {
    const file = join(this.scratch, `${name}.yml`);
    await writeFile(file, JSON.stringify(content));
    if (!this.#files.includes(file)) this.#files.push(file);
  }

  /** Runs a compose command in this project, or in a sister project that shares nothing with it. */
  compose(args: string[], { timeoutMs = commandTimeoutMs, project = this.project } = {}): Promise<string> {
    const [program = '', ...first] = this.#command;
    return run(program, [...first, ...args], { timeoutMs, env: this.environment(project) });
  }

  /** Runs a shell command as an operator would in this folder; `docker-compose` in it means this project. */
  shell(command: string, timeoutMs = commandTimeoutMs): Promise<string> {
    const compose = this.#command.join(' ');
    const env = this.environment();
    return run('sh', ['-c', command.replaceAll('docker-compose', compose)], { timeoutMs, env });
  }

  /** What makes a compose command, or a script that runs some, mean this project. */
  environment(project = this.project): Environment {
    const [files, own] = [this.#files.join(':'), this.settings];
    // Port 0: the engine chooses, and `address` asks for it.
    return {
      ROOMCAST_PORT: '0',
      ROOMCAST_GRAFANA_PORT: '0',
      ...own,
      COMPOSE_FILE: files,
      COMPOSE_PROJECT_NAME: project,
    };
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
  containers(service: string): Promise<string[]> {
    return this.#list('--filter', `label=com.docker.compose.service=${service}`);
  }

  /** Ids of all containers of the project, those included that have ended. */
  allContainers(): Promise<string[]> {
    return this.#list('--all');
  }

  async #list(...options: string[]): Promise<string[]> {
    const ofProject = ['--filter', `label=com.docker.compose.project=${this.project}`];
    return (await docker('ps', '--quiet', '--no-trunc', ...ofProject, ...options)).split('\n').filter(Boolean);
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
