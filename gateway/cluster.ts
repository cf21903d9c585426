/** This node as a part of the cluster: it performs what any node asks of all, and follows the blocks of users. */
import { BackplaneError } from './backplane/backplane.ts';
import { type Command, type ControlChannel, type ControlListener, UnknownCommandError } from './backplane/control.ts';
import { Blocks } from './operations/blocks.ts';
import { performCommand } from './operations/cluster/commands.ts';
import { disconnect } from './operations/disconnect.ts';
import type { LocalNode, OperatedConnection } from './operations/local-node.ts';
import type { Freeze } from './rooms/freeze.ts';
import type { Events } from './telemetry/events.ts';
import type { Faults } from './telemetry/faults.ts';
import type { Logger } from './telemetry/log.ts';

export interface ClusterNodeParts {
  control: ControlChannel;
  /** What is asked of this node is asked of it. */
  local: LocalNode;
  freeze: Freeze;
  events: Events;
  faults: Faults;
}

export class ClusterNode implements ControlListener {
  readonly #parts: ClusterNodeParts;

  constructor(parts: ClusterNodeParts) {
    this.#parts = parts;
  }

  async perform(command: Command): Promise<unknown> {
    const { faults, freeze, local } = this.#parts;
    // The command may have waited while the process stood still: then this closes the connections that it could mean.
    freeze.check(performance.now());
    try {
      return await performCommand(local, command);
    } catch (error) {
      // A command of a later version is no fault.
      if (!(error instanceof UnknownCommandError)) {
        faults.report('a command of the cluster failed', error, { kind: command.kind });
      }
      throw error;
    }
  }

  interrupted(): void {
    void this.#parts.local.blocks.look();
  }

  asked(seconds: number): void {
    this.#parts.events.controlAsked(seconds);
  }
}

/** The blocks of users on this node. */
export function createBlocks(
  control: ControlChannel,
  open: Iterable<OperatedConnection>,
  faults: Faults,
  log: Logger,
): Blocks {
  return new Blocks({
    read: (known) => control.blocks(known),
    onBlocked: (users) => disconnect(open, { users }),
    onLost: (users) => {
      const advice =
        'redis has lost the blocks of users; this node goes on with those it knows: block these users again';
      log.error({ users }, advice);
    },
    onFailed: (error) => {
      // While Redis is away, its connection says so in the log.
      if (!(error instanceof BackplaneError)) faults.report('reading the blocks of users failed', error);
    },
  });
}
