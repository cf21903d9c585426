/**
 * Operations on the whole cluster: a command is performed by every node, and what they answer is put together.
 *
 * A command has a kind, a strict schema of its arguments, and one of its value: nodes of two releases run beside each other. A
 * node answers a kind, or an argument, that it does not know as such, and is `missing`. So a change of what a command means is
 * a new kind; a new field of a value is optional. Only the server may ask.
 */
import type { z } from 'zod';
import { type ControlChannel, UnknownCommandError } from '../../backplane/control.ts';
import type { Faults } from '../../telemetry/faults.ts';
import { type Caller, forbidden, server } from '../caller.ts';
import type { LocalNode } from '../local-node.ts';
import { refusalOf } from '../refusal.ts';

export interface ClusterParts {
  control: ControlChannel;
  faults: Faults;
}

export interface ClusterCommand<Arguments, Value> extends PerformedCommand {
  readonly arguments: z.ZodType<Arguments>;
  readonly value: z.ZodType<Value>;
}

/** A command as the node sees it that performs it. */
export interface PerformedCommand {
  readonly kind: string;
  /** Rejects with an UnknownCommandError if it does not know the arguments. */
  perform(node: LocalNode, values: unknown): Promise<unknown>;
}

/** `perform`: on every node. `node`: this one. */
export function clusterCommand<Arguments, Value>(command: {
  kind: string;
  arguments: z.ZodType<Arguments>;
  value: z.ZodType<Value>;
  perform(node: LocalNode, values: Arguments): Value | Promise<Value>;
}): ClusterCommand<Arguments, Value> {
  return {
    ...command,
    perform: async (node, values) => {
      const read = command.arguments.safeParse(values);
      if (!read.success) throw new UnknownCommandError(command.kind);
      return command.perform(node, read.data);
    },
  };
}

/** Names of live nodes that did not confirm in time. Absent: all did. */
export interface Missing {
  missing?: string[];
}

export interface Asked<Value> {
  /** Of the nodes that answered. */
  values: Value[];
  /** To be spread into the answer of the operation. */
  rest: Missing;
}

/** `to`: only this run of a node. Rejects with a Refusal: `forbidden`, `unavailable`, `timeout` or `internal`. */
export async function askAll<Arguments, Value>(
  { control, faults }: ClusterParts,
  caller: Caller,
  command: ClusterCommand<Arguments, Value>,
  values: Arguments,
  to?: string,
): Promise<Asked<Value>> {
  requireServer(caller);
  try {
    const { answers, missing } = await control.ask({ kind: command.kind, arguments: values, to });
    const read = answers.map(({ node, value }) => ({ node, result: command.value.safeParse(value) }));
    const unreadable = read.filter(({ result }) => !result.success).map(({ node }) => node);
    const all = [...missing, ...unreadable].sort();
    return {
      values: read.flatMap(({ result }) => (result.success ? [result.data] : [])),
      rest: all.length > 0 ? { missing: all } : {},
    };
  } catch (error) {
    throw refusalOf(faults, 'asking all nodes failed', error, { again: 'ask again' });
  }
}

/** Throws a Refusal `forbidden`. */
export function requireServer(caller: Caller): void {
  if (caller !== server) throw forbidden('administer');
}
