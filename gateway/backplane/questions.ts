/**
 * Both ends of a control channel without the channel: the questions of a node that wait for answers, and the commands that it
 * performs.
 *
 * Owns the bounds of gateway/backplane/control.ts on numbers, bytes and time. It never knows how a command travels.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { BackplaneError } from './backplane.ts';
import {
  type Answer,
  type Answers,
  type Command,
  deadlineMs,
  maxAnswerBytes,
  maxHeldBytes,
  maxPerformed,
  maxQuestions,
  UnknownCommandError,
} from './control.ts';

/** What a node answers: a value as JSON text, or why it has not done what it was asked. */
export type Outcome = { value: string } | { error: CommandError };

export type CommandError = 'unsupported' | 'busy' | 'failed' | 'late' | 'too large';

/** One question. It settles once. */
export class OpenQuestion {
  readonly id: string;
  readonly outcome: Promise<Answers>;
  /** Bytes of the answers. */
  bytes = 0;
  readonly #answers: Answer[] = [];
  /** Live nodes, by instance: true once it has answered in one way or another. Undefined until it is known who lives. */
  #expected: Map<string, { node: string; answered: boolean }> | undefined;
  readonly #refused = new Set<string>();
  #settle: { resolve(answers: Answers): void; reject(error: Error): void } | undefined;

  constructor(id: string) {
    this.id = id;
    this.outcome = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Who asked may still be waiting for something else.
    this.outcome.catch(() => undefined);
  }

  get settled(): boolean {
    return this.#settle === undefined;
  }

  /** Call it before the command is sent. */
  expect(nodes: readonly { instance: string; node: string }[]): void {
    this.#expected = new Map(nodes.map(({ instance, node }) => [instance, { node, answered: false }]));
    this.#settleIfComplete();
  }

  /** A second answer of a node is ignored. */
  take(answer: Answer | { instance: string; error: CommandError }): void {
    const { instance } = answer;
    const expected = this.#expected?.get(instance);
    if (this.settled || expected?.answered || this.#answers.some((earlier) => earlier.instance === instance)) return;
    if (expected !== undefined) expected.answered = true;
    if ('error' in answer) this.#refused.add(instance);
    else this.#answers.push(answer);
    this.#settleIfComplete();
  }

  /** The deadline: who has not answered is missing. */
  end(): void {
    if (this.#expected === undefined) {
      this.fail(new BackplaneError('unavailable', 'Redis did not say in time which nodes live'));
      return;
    }
    const missing = [...this.#expected]
      .filter(([instance, { answered }]) => !answered || this.#refused.has(instance))
      .map(([, { node }]) => node);
    this.#settle?.resolve({ answers: this.#answers, missing: missing.sort() });
    this.#settle = undefined;
  }

  fail(error: Error): void {
    this.#settle?.reject(error);
    this.#settle = undefined;
  }

  #settleIfComplete(): void {
    if (this.#expected !== undefined && [...this.#expected.values()].every(({ answered }) => answered)) this.end();
  }
}

export class Questions {
  readonly #open = new Map<string, OpenQuestion>();
  #count = 0;
  #heldBytes = 0;

  /** Its deadline runs from now on. Throws a BackplaneError if too many are open. `settled` is given its duration. */
  open(settled: (seconds: number) => void): OpenQuestion {
    if (this.#open.size >= maxQuestions) {
      throw new BackplaneError('unavailable', 'too many questions to other nodes are under way');
    }
    const startedAt = performance.now();
    const question = new OpenQuestion(String(++this.#count));
    this.#open.set(question.id, question);
    const timer = setTimeout(() => question.end(), deadlineMs);
    const close = () => {
      clearTimeout(timer);
      this.#open.delete(question.id);
      this.#heldBytes -= question.bytes;
      settled((performance.now() - startedAt) / 1000);
    };
    question.outcome.then(close, close);
    return question;
  }

  /** An answer that is late, or belongs to no question, is ignored. `bytes`: its size. */
  answered(id: string, answer: Answer | { instance: string; error: CommandError }, bytes: number): void {
    const question = this.#open.get(id);
    if (question === undefined || question.settled) return;
    if ('error' in answer) question.take(answer);
    else if (this.#heldBytes + bytes > maxHeldBytes) {
      question.take({ instance: answer.instance, error: 'too large' });
    } else {
      this.#heldBytes += bytes;
      question.bytes += bytes;
      question.take(answer);
    }
  }

  /** The node stops. */
  close(): void {
    for (const question of this.#open.values()) question.fail(new BackplaneError('timeout', 'the node is stopping'));
  }
}

/** Performs commands. */
export class Commands {
  readonly #perform: (command: Command) => Promise<unknown>;
  #underWay = 0;

  constructor(perform: (command: Command) => Promise<unknown>) {
    this.#perform = perform;
  }

  /** Never rejects. Nobody waits for an answer after `deadlineMs`. */
  async run(command: Command): Promise<Outcome> {
    if (this.#underWay >= maxPerformed) return { error: 'busy' };
    this.#underWay++;
    const deadline = new AbortController();
    try {
      const late = delay(deadlineMs, 'late' as const, { ref: false, signal: deadline.signal });
      // Aborted below.
      late.catch(() => undefined);
      const done = this.#perform(command).then((value) => ({ value: JSON.stringify(value ?? null) }));
      const first = await Promise.race([done, late]);
      if (first === 'late') return { error: 'late' };
      return Buffer.byteLength(first.value) > maxAnswerBytes ? { error: 'too large' } : first;
    } catch (error) {
      return { error: error instanceof UnknownCommandError ? 'unsupported' : 'failed' };
    } finally {
      deadline.abort();
      this.#underWay--;
    }
  }
}
