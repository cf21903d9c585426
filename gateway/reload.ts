/**
 * What is read again while the node runs: the room rules and the certificate.
 *
 * Owns when. At once on SIGHUP; and when the content of a file has changed, which is looked at every few seconds: files are
 * renamed over, swapped behind a symbolic link (Kubernetes) or written in place, on file systems that tell nobody. Such a
 * change counts when it is still the same at the next look, so that one half written, or a certificate before its key, is
 * not taken for broken. What it means to take a file over is its owner's affair.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ConfigError } from './config.ts';
import type { Events, ReloadSubject } from './telemetry/events.ts';
import type { Logger } from './telemetry/log.ts';

export interface Reloadable {
  what: ReloadSubject;
  files: string[];
  /**
   * Reads the files and takes over what they hold. Resolves with what the log should say of it, or undefined where nothing
   * is new. Rejects with an Error that says everything that is wrong; then all stays as it was.
   */
  take(): Promise<object | undefined>;
}

const lookMs = 2_000;

/** What is known of the content of some files, by the digest of all together. */
export class Content {
  #seen: string | undefined;
  #taken: string | undefined;

  /** To be called at each look. True if it is to be taken: two looks in a row have seen it, and it was not taken yet. */
  isDue(digest: string): boolean {
    const settled = digest === this.#seen;
    this.#seen = digest;
    return settled && digest !== this.#taken;
  }

  taken(digest: string): void {
    this.#taken = digest;
  }
}

export class Reload {
  readonly #reloadables: Map<Reloadable, Content>;
  readonly #events: Events;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  /** One at a time: to take something over may need some turns. */
  #work: Promise<void> = Promise.resolve();
  #lookWaits = false;

  constructor(reloadables: Reloadable[], events: Events, log: Logger) {
    this.#reloadables = new Map(reloadables.map((each) => [each, new Content()]));
    this.#events = events;
    this.#log = log;
    this.#timer = setInterval(() => this.#look(), lookMs).unref();
  }

  /** Reads everything now. */
  now(): void {
    if (this.#reloadables.size === 0) {
      this.#log.info('nothing to read again: neither GATEWAY_ROOMS_FILE nor GATEWAY_TLS_CERT_FILE is set');
    }
    this.#do(async () => {
      for (const [reloadable, content] of this.#reloadables) {
        content.taken(await digestOf(reloadable.files));
        await this.#take(reloadable, true);
      }
    });
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    // The one before may still wait for a file system that hangs.
    if (this.#lookWaits) return;
    this.#lookWaits = true;
    this.#do(async () => {
      this.#lookWaits = false;
      for (const [reloadable, content] of this.#reloadables) {
        const digest = await digestOf(reloadable.files);
        if (!content.isDue(digest)) continue;
        content.taken(digest);
        await this.#take(reloadable, false);
      }
    });
  }

  /** Nothing that is done here rejects. */
  #do(work: () => Promise<void>): void {
    this.#work = this.#work.then(work);
  }

  async #take({ what, files, take }: Reloadable, asked: boolean): Promise<void> {
    try {
      const taken = await take();
      if (taken !== undefined) {
        this.#events.reloaded(what, 'taken');
        this.#log.info({ what, files, ...taken }, 'read again; it holds from now on');
      } else if (asked) this.#log.info({ what, files }, 'read again; nothing is new');
    } catch (error) {
      this.#events.reloaded(what, 'refused');
      const mistakes = error instanceof ConfigError ? error.mistakes : [(error as Error).message];
      this.#log.error(
        { what, files, mistakes },
        'read again; it cannot be used, and what was read before stays in force',
      );
    }
  }
}

/** Of what is in the files; of one that cannot be read, why not. */
async function digestOf(files: string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) {
    const content = await readFile(file).catch((error: NodeJS.ErrnoException) => `${error.code}`);
    hash.update(content).update('\0');
  }
  return hash.digest('hex');
}
