/**
 * What an input is: a source of messages, which this node reads or waits to read. One kind of source is one file.
 *
 * Over all nodes one at a time reads a source, or a partition of it, so that order holds. A message is acknowledged to its source
 * only when the backplane has it.
 */
import type { Logger } from '../telemetry/log.ts';
import type { Intake } from './intake.ts';

export interface Source {
  /** Connects, and connects again until `close`. A source that is away is no error. */
  start(): void;
  /**
   * Messages that are not acknowledged, as far as this node knows; 0 where another node reads. NaN: the source does not say.
   */
  readonly lag: number;
  /** Finishes what is under way, for `closeMs` at most, and hands the rest over. */
  close(): Promise<void>;
}

export interface SourceParts {
  /** Of the input. */
  name: string;
  /** This run of the node, unique. */
  instance: string;
  intake: Intake;
  /** Messages of one source that are under way on a node, at most. */
  most: number;
  log: Logger;
}

/** Of the messages of one source that are under way on a node: their number, and their bytes if each is as large as may be. */
const maxUnderWay = 100;
const maxBytesUnderWay = 16_777_216;

/** `maxMessageBytes`: of a body that can be published. */
export function mostUnderWay(maxMessageBytes: number): number {
  return Math.max(1, Math.min(maxUnderWay, Math.floor(maxBytesUnderWay / maxMessageBytes)));
}
/** At the end of the node, for what is under way. */
export const closeMs = 4_000;
