/**
 * The control channel over Redis. Contract: gateway/backplane/control.ts.
 *
 * All nodes subscribe to `rc:control`, and each run of a node to `rc:commands:<instance>`, for commands to it alone, and to
 * `rc:control:<instance>`, where answers to its questions come. All are on the connection that is subscribed to rooms (gateway/redis/own-channels.ts): while that one is away a node hears
 * no command, and its clients no message. Who lives is told by the leases of gateway/redis/presence/leases.ts, read for each
 * question. Blocks are the hash `rc:blocks`, with ends by the clock of Redis.
 */
import { BackplaneError } from '../../backplane/backplane.ts';
import {
  type Answers,
  type BlockChange,
  type BlockList,
  type ControlChannel,
  type ControlListener,
  maxAnswerBytes,
  maxBlocks,
  maxCommandBytes,
  type Question,
} from '../../backplane/control.ts';
import { Commands, type Outcome, Questions } from '../../backplane/questions.ts';
import type { Logger } from '../../telemetry/log.ts';
import { integerOf, listOf, textOf } from '../connection/answer.ts';
import type { RedisNames } from '../names.ts';
import type { Link } from '../own-channels.ts';
import { nodeOf } from '../presence/lease.ts';
import { readAnswer, readCommand, writeAnswer, writeCommand } from './messages.ts';
import { blockScript, blocksScript } from './scripts.ts';

/** Of an answer, beside its value. */
const maxHeadBytes = 1_024;

export interface RedisControlOptions {
  names: RedisNames;
  /** This run of this node, unique: its name, `-`, and a random part. */
  instance: string;
  /** The subscribed connection of this node: gateway/redis/backplane.ts. */
  link: Link;
  /** The runs of all nodes that live. Rejects with a BackplaneError. */
  liveInstances(): Promise<string[]>;
}

export class RedisControl implements ControlChannel {
  readonly #options: RedisControlOptions;
  readonly #log: Logger;
  readonly #names: RedisNames;
  readonly #questions = new Questions();
  #listener: ControlListener | undefined;
  #commands: Commands | undefined;

  constructor(options: RedisControlOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
    this.#names = options.names;
  }

  start(listener: ControlListener): void {
    const { instance, link } = this.#options;
    this.#listener = listener;
    this.#commands = new Commands((command) => listener.perform(command));
    link.listen(this.#names.commands, {
      receive: (bytes, start, end) => this.#receiveCommand(bytes, start, end),
      subscribed: () => this.#listener?.interrupted(),
    });
    link.listen(this.#names.commandsTo(instance), {
      receive: (bytes, start, end) => this.#receiveCommand(bytes, start, end),
      subscribed: () => undefined,
    });
    link.listen(this.#names.answers(instance), {
      receive: (bytes, start, end) => this.#receiveAnswer(bytes, start, end),
      subscribed: () => undefined,
    });
  }

  async ask(asked: Question): Promise<Answers> {
    if (this.#listener === undefined) throw new BackplaneError('unavailable', 'the node is stopping');
    const { instance, liveInstances } = this.#options;
    const question = this.#questions.open((seconds) => this.#listener?.asked(seconds));
    try {
      const text = writeCommand(question.id, instance, asked);
      if (Buffer.byteLength(text) > maxCommandBytes) throw new TypeError('the command is too large');
      const live = await liveInstances().catch(notSent);
      if (question.settled) return question.outcome;
      const meant = asked.to === undefined ? live : live.filter((each) => each === asked.to);
      question.expect(meant.map((each) => ({ instance: each, node: nodeOf(each) })));
      // Nobody is there to do it, so nobody has to read it.
      if (meant.length === 0 && asked.to !== undefined) return question.outcome;
      // Not awaited: answers may come first.
      this.#send(text, asked.to).catch((error: Error) => question.fail(error));
    } catch (error) {
      question.fail(error as Error);
    }
    return question.outcome;
  }

  /** A node that does not hear on a channel of its own is of the release before, and hears what goes to all. */
  async #send(text: string, to: string | undefined): Promise<void> {
    const { link } = this.#options;
    if (to !== undefined && integerOf(await link.publish(this.#names.commandsTo(to), text)) > 0) return;
    await link.publish(this.#names.commands, text);
  }

  async block(user: string, forMs: number): Promise<BlockChange> {
    const words = [user, forMs, maxBlocks];
    const reply = await this.#options.link.evaluate(blockScript, this.#names.blocks, words);
    const [before, after] = listOf(reply);
    return { user, forMs, before: textOf(before), after: textOf(after) };
  }

  async blocks(known: string | undefined): Promise<BlockList | undefined> {
    const reply = await this.#options.link.evaluate(blocksScript, this.#names.blocks, [known ?? '-']);
    const [version, ...rest] = listOf(reply);
    if (version === undefined) return undefined;
    const blocks = rest.flatMap((user, index) =>
      index % 2 === 0 ? [{ user: textOf(user), forMs: integerOf(rest[index + 1]) }] : [],
    );
    return { version: textOf(version), blocks };
  }

  close(): void {
    this.#listener = undefined;
    this.#commands = undefined;
    this.#questions.close();
  }

  #receiveCommand(bytes: Buffer, start: number, end: number): void {
    const message = end - start > maxCommandBytes ? undefined : readCommand(bytes.toString('utf8', start, end));
    if (message === undefined) {
      this.#log.warn({ channel: this.#names.commands, bytes: end - start }, 'not a command of a node; ignored');
      return;
    }
    const { id, from, to, command } = message;
    if (to !== undefined && to !== this.#options.instance) return;
    const done: Promise<Outcome> | undefined =
      command === undefined ? Promise.resolve({ error: 'unsupported' }) : this.#commands?.run(command);
    done?.then((outcome) => {
      // If it fails, this node is missing in the answer.
      const answer = writeAnswer(id, this.#options.instance, outcome);
      this.#options.link.publish(this.#names.answers(from), answer).catch(() => undefined);
    });
  }

  #receiveAnswer(bytes: Buffer, start: number, end: number): void {
    const size = end - start;
    const message = size > maxAnswerBytes + maxHeadBytes ? undefined : readAnswer(bytes.toString('utf8', start, end));
    if (message === undefined) {
      this.#log.warn({ channel: 'answers', bytes: size }, 'not an answer of a node; ignored');
      return;
    }
    const { id, from: instance, outcome } = message;
    this.#questions.answered(
      id,
      'error' in outcome
        ? { instance, error: outcome.error }
        : { instance, node: nodeOf(instance), value: outcome.value },
      size,
    );
  }
}

/** Whatever became of the question who lives, the command was not sent. */
function notSent(error: Error): never {
  throw error instanceof BackplaneError ? new BackplaneError('unavailable', error.message, error.cause) : error;
}
