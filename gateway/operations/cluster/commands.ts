/** All commands that a node performs for the cluster. A command of another kind is of a later version. */
import { type Command, UnknownCommandError } from '../../backplane/control.ts';
import type { LocalNode } from '../local-node.ts';
import type { PerformedCommand } from './ask.ts';
import { emulateCommands } from './emulate.ts';
import { listCommands } from './lists.ts';
import { nodeCommands } from './nodes.ts';
import { observeCommand } from './observe.ts';
import { userCommands } from './users.ts';

const commands = new Map(
  [...userCommands, ...listCommands, ...nodeCommands, ...emulateCommands, observeCommand].map(
    (command): [string, PerformedCommand] => [command.kind, command],
  ),
);

/** Rejects with an UnknownCommandError, or with a fault. */
export async function performCommand(node: LocalNode, { kind, arguments: values }: Command): Promise<unknown> {
  const command = commands.get(kind);
  if (command === undefined) throw new UnknownCommandError(kind);
  return command.perform(node, values);
}
