/**
 * The contract of a control channel: what one node asks of all nodes, and the blocks of users that outlive a command. Redis, or
 * memory on one node.
 *
 * A command reaches every node that is connected, the asking one included, and each performs it at most once. Who has to
 * answer is who lives: the nodes that hold a lease when the command is sent. A node that has not answered after `deadlineMs`
 * is `missing`; the command may still take effect there. A node that joins meanwhile may answer too.
 *
 * One suite (test/contract/control-suite.ts) tests every implementation. A channel carries plain JSON. It never knows what a
 * command means: gateway/operations/cluster/commands.ts.
 */

export interface Command {
  kind: string;
  arguments: unknown;
}

export interface Question extends Command {
  /** Only for this run of a node. Undefined: for all nodes. */
  to?: string | undefined;
}

export interface Answers {
  /** In the order in which they came. */
  answers: Answer[];
  /** Names of the live nodes that have not answered in time, do not know the command, or failed. Sorted. */
  missing: string[];
}

export interface Answer {
  /** The run of the node, unique. */
  instance: string;
  /** Its name (GATEWAY_NODE_ID). */
  node: string;
  value: unknown;
}

/** What a channel calls; never within a call to the channel. */
export interface ControlListener {
  /** Performs a command for this node. Rejects with an UnknownCommandError, or with any error: the node is `missing`. */
  perform(command: Command): Promise<unknown>;
  /** Commands may not have reached this node: the channel is new, or was interrupted and is restored. */
  interrupted(): void;
  /** A question was answered by all, or its deadline has passed. */
  asked(seconds: number): void;
}

export interface ControlChannel {
  /** Call it before the backplane starts. */
  start(listener: ControlListener): void;

  /**
   * Resolves when all live nodes have answered, at the latest after `deadlineMs`. Rejects with a BackplaneError:
   * `unavailable`, nothing was sent; `timeout`, the connection was lost while it was sent. Throws a TypeError for a command of
   * more than `maxCommandBytes`.
   */
  ask(question: Question): Promise<Answers>;

  /** Blocks a user for so long, whatever held before. 0: not any more. Rejects with a BackplaneError. */
  block(user: string, forMs: number): Promise<BlockChange>;

  /** All blocks; undefined if their version is still `known`. Rejects with a BackplaneError. */
  blocks(known: string | undefined): Promise<BlockList | undefined>;

  close(): void;
}

/** A change of the blocks, by which a node knows whether it has seen all of them: versions form a chain. */
export interface BlockChange {
  user: string;
  forMs: number;
  before: string;
  after: string;
}

export interface BlockList {
  version: string;
  /** How long each block still lasts. Durations, not times: the clocks of hosts differ. */
  blocks: { user: string; forMs: number }[];
}

/** This version does not know the kind of the command, or one of its arguments. */
export class UnknownCommandError extends Error {}

/** From the call of `ask`. */
export const deadlineMs = 2_000;
/** Of a command, as JSON. */
export const maxCommandBytes = 65_536;
/** Of the answer of one node, as JSON. */
export const maxAnswerBytes = 524_288;
/** Of the answers that one node holds at a time, for all of its questions. */
export const maxHeldBytes = 67_108_864;
/** Questions of one node under way. */
export const maxQuestions = 256;
/** Commands that one node performs at a time, for all nodes. It is `missing` in the answer to one more. */
export const maxPerformed = 1_024;
/** Users blocked at a time. One more is `unavailable`. */
export const maxBlocks = 10_000;
/** Of one block: a year. */
export const maxBlockMs = 31_536_000_000;
