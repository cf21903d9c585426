/**
 * Reload: reads the room rules and the certificate again while the node runs.
 *
 * Owns when. On SIGHUP at once; else it polls the content of the files. Notifications of the file system would miss changes:
 * files are renamed over, swapped behind a symbolic link (Kubernetes) or written in place, on file systems without them.
 * A change counts once two polls in a row see the same content, so that a half-written file, or a certificate written before
 * its key, is not refused. The owner of a file decides how to apply it.
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
   * Reads the files and applies them. Resolves with fields for the log, or with undefined if nothing changed. Rejects with
   * an Error that lists every mistake; then nothing has changed.
   */
  take(): Promise<object | undefined>;
}

const pollMs = 2_000;

/** Which content of some files was seen last and which was applied, as one digest of all of them. */
export class Content {
  #seen: string | undefined;
  #taken: string | undefined;

  /** Call it at each poll. True if the content should be applied: two polls in a row saw it, and it was not applied yet. */
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
  /** The last job. Jobs run one at a time, because each takes several turns of the event loop. */
  #work: Promise<void> = Promise.resolve();
  /** A poll is queued and has not started. */
  #pollQueued = false;

  constructor(reloadables: Reloadable[], events: Events, log: Logger) {
    this.#reloadables = new Map(reloadables.map((each) => [each, new Content()]));
    this.#events = events;
    this.#log = log;
    this.#timer = setInterval(() => this.#poll(), pollMs).unref();
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

  #poll(): void {
    // The last poll may still wait for a file system that hangs.
    if (this.#pollQueued) return;
    this.#pollQueued = true;
    this.#do(async () => {
      this.#pollQueued = false;
      for (const [reloadable, content] of this.#reloadables) {
        const digest = await digestOf(reloadable.files);
        if (!content.isDue(digest)) continue;
        content.taken(digest);
        await this.#take(reloadable, false);
      }
    });
  }

  /** Queues a job, which must never reject. */
  #do(work: () => Promise<void>): void {
    this.#work = this.#work.then(work);
  }

  async #take({ what, files, take }: Reloadable, asked: boolean): Promise<void> {
    try {
      const taken = await take();
      if (taken !== undefined) {
        this.#events.reloaded(what, 'taken');
        this.#log.info({ what, files, ...taken }, 'read again; now in force');
      } else if (asked) this.#log.info({ what, files }, 'read again; nothing is new');
    } catch (error) {
      this.#events.reloaded(what, 'refused');
      const mistakes = error instanceof ConfigError ? error.mistakes : [(error as Error).message];
      this.#log.error(
        { what, files, mistakes },
        'read again, but cannot be used; the version read before stays in force',
      );
    }
  }
}

/** A digest of the content of all files. For a file that cannot be read, its error code counts as its content. */
async function digestOf(files: string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) {
    const content = await readFile(file).catch((error: NodeJS.ErrnoException) => `${error.code}`);
    hash.update(content).update('\0');
  }
  return hash.digest('hex');
}
