/** The control channel in memory, for one node. Contract: gateway/backplane/control.ts. */
import { BackplaneError } from '../backplane.ts';
import {
  type Answers,
  type BlockChange,
  type BlockList,
  type ControlChannel,
  type ControlListener,
  maxBlocks,
  maxCommandBytes,
  type Question,
} from '../control.ts';
import { Commands, Questions } from '../questions.ts';

export class MemoryControl implements ControlChannel {
  readonly #self: { instance: string; node: string };
  readonly #questions = new Questions();
  /** By user: when the block ends, of performance.now(). */
  readonly #blocks = new Map<string, number>();
  #version = 0;
  #listener: ControlListener | undefined;
  #commands: Commands | undefined;

  /** `instance`: this run of the node. */
  constructor(instance: string, node: string) {
    this.#self = { instance, node };
  }

  start(listener: ControlListener): void {
    this.#listener = listener;
    this.#commands = new Commands((command) => listener.perform(command));
    setImmediate(() => this.#listener?.interrupted());
  }

  async ask({ kind, arguments: values, to }: Question): Promise<Answers> {
    // As text: what is no JSON must not get by on one node only.
    const text = JSON.stringify({ kind, arguments: values });
    if (Buffer.byteLength(text) > maxCommandBytes) throw new TypeError('the command is too large');
    if (this.#commands === undefined) throw new BackplaneError('unavailable', 'the node is stopping');
    const question = this.#questions.open((seconds) => this.#listener?.asked(seconds));
    const { instance } = this.#self;
    const isMeant = to === undefined || to === instance;
    question.expect(isMeant ? [this.#self] : []);
    if (isMeant) setImmediate(() => void this.#answer(question.id, text));
    return question.outcome;
  }

  async block(user: string, forMs: number): Promise<BlockChange> {
    if (this.#listener === undefined) throw new BackplaneError('unavailable', 'the node is stopping');
    this.#forgetEnded();
    if (forMs > 0 && !this.#blocks.has(user) && this.#blocks.size >= maxBlocks) {
      throw new BackplaneError('unavailable', 'too many users are blocked');
    }
    const before = String(this.#version++);
    if (forMs > 0) this.#blocks.set(user, performance.now() + forMs);
    else this.#blocks.delete(user);
    return { user, forMs, before, after: String(this.#version) };
  }

  async blocks(known: string | undefined): Promise<BlockList | undefined> {
    if (this.#listener === undefined) throw new BackplaneError('unavailable', 'the node is stopping');
    const version = String(this.#version);
    if (known === version) return undefined;
    this.#forgetEnded();
    const now = performance.now();
    return { version, blocks: [...this.#blocks].map(([user, endsAt]) => ({ user, forMs: Math.ceil(endsAt - now) })) };
  }

  close(): void {
    this.#listener = undefined;
    this.#commands = undefined;
    this.#questions.close();
  }

  async #answer(id: string, text: string): Promise<void> {
    const outcome = (await this.#commands?.run(JSON.parse(text))) ?? { error: 'failed' };
    const { instance } = this.#self;
    if ('error' in outcome) this.#questions.answered(id, { instance, error: outcome.error }, 0);
    else {
      const { value } = outcome;
      this.#questions.answered(id, { ...this.#self, value: JSON.parse(value) }, Buffer.byteLength(value));
    }
  }

  #forgetEnded(): void {
    const now = performance.now();
    for (const [user, endsAt] of this.#blocks) if (endsAt <= now) this.#blocks.delete(user);
  }
}
