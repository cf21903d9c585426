/**
 * A member of a room by an unmodified SDK of Centrifugo, in a process of its own: one program for each language in sdk/.
 *
 * A program gets `<json | protobuf> <url> <url of tokens> <room>`, connects and subscribes. It reads commands as lines,
 * `publish <number>`, `presence` or `history`, and writes each event as a line of JSON. It ends with its input.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { onCleanup } from '../support/cleanup.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { until } from '../support/until.ts';

export interface Told {
  event: string;
  code?: number;
  data?: unknown;
  offset?: number;
  recovered?: boolean;
  wasRecovering?: boolean;
  users?: string[];
  reason?: string;
}

/** An SDK that has to start, in a process beside others, and come back. */
const deadlineMs = 20_000;

export class SdkMember {
  /** All events so far. */
  readonly told: Told[] = [];
  readonly #process: ChildProcessWithoutNullStreams;
  #errors = '';
  #readUpTo = 0;

  constructor(command: readonly string[], args: readonly string[]) {
    const [program = '', ...first] = command;
    this.#process = spawn(program, [...first, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    endWithThisProcess(this.#process);
    createInterface({ input: this.#process.stdout }).on('line', (line) => this.told.push(JSON.parse(line) as Told));
    this.#process.stderr.on('data', (text) => {
      this.#errors += text;
    });
    const exited = once(this.#process, 'close');
    onCleanup(async () => {
      this.#process.kill('SIGKILL');
      await exited;
    });
  }

  /** The next event of a name that was not asked for before. */
  next(event: string): Promise<Told> {
    const find = () => {
      const at = this.told.findIndex((each, index) => index >= this.#readUpTo && each.event === event);
      if (at >= 0) this.#readUpTo = at + 1;
      return this.told[at] as Told;
    };
    return until(find, deadlineMs, event).catch((error: Error) => {
      throw new Error(`${error.message}; told: ${JSON.stringify(this.told.slice(-8))}; ${this.#errors.slice(-2_000)}`);
    });
  }

  ask(command: string, event: string): Promise<Told> {
    this.#process.stdin.write(`${command}\n`);
    return this.next(event);
  }

  get offsets(): number[] {
    return this.told.flatMap(({ event, offset }) => (event === 'publication' && offset !== undefined ? [offset] : []));
  }

  get data(): unknown[] {
    return this.told.flatMap(({ event, data }) => (event === 'publication' ? [data] : []));
  }

  /** Resolves when so many publications have come. */
  have(count: number): Promise<boolean> {
    return until(() => this.data.length >= count, deadlineMs, `${count} publications, not ${this.data.length}`);
  }
}
