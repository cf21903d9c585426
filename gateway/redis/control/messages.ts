/**
 * What nodes say to each other on the control channel, as JSON:
 *
 *     a command   {"v":1,"id":"7","from":"<instance>","to":"<instance>","kind":"disconnect","arguments":{…}}
 *     an answer   {"v":1,"id":"7","from":"<instance>","value":…}, or "error" instead of "value"
 *
 * `v`, `id` and `from` mean the same in every version, so a node can answer `unsupported` to a command of a version or a kind
 * that it does not know. A new argument needs a new kind, or a node that knows the kind without it answers `unsupported`:
 * commands are checked strictly (gateway/operations/cluster/commands.ts). Pure functions.
 */
import type { Command, Question } from '../../backplane/control.ts';
import type { CommandError, Outcome } from '../../backplane/questions.ts';

const version = 1;
/** A node's name (gateway/settings.ts), `-`, and a random part. */
const instanceGrammar = /^[\w.-]{1,64}-\w{1,64}$/;
const idGrammar = /^\d{1,16}$/;
const errors: CommandError[] = ['unsupported', 'busy', 'failed', 'late', 'too large'];

export interface CommandMessage {
  id: string;
  from: string;
  to: string | undefined;
  /** Undefined: of a version that this one does not know. */
  command: Command | undefined;
}

export interface AnswerMessage {
  id: string;
  from: string;
  outcome: { value: unknown } | { error: CommandError };
}

export function writeCommand(id: string, from: string, { kind, arguments: values, to }: Question): string {
  return JSON.stringify({ v: version, id, from, to, kind, arguments: values });
}

export function writeAnswer(id: string, from: string, outcome: Outcome): string {
  const head = JSON.stringify({ v: version, id, from });
  const rest = 'error' in outcome ? `"error":${JSON.stringify(outcome.error)}` : `"value":${outcome.value}`;
  return `${head.slice(0, -1)},${rest}}`;
}

/** Undefined: no node wrote it. */
export function readCommand(text: string): CommandMessage | undefined {
  const fields = readHead(text);
  if (fields === undefined) return undefined;
  const { v, id, from, to, kind } = fields;
  if (to !== undefined && typeof to !== 'string') return undefined;
  if (v !== version) return { id, from, to, command: undefined };
  return typeof kind === 'string' ? { id, from, to, command: { kind, arguments: fields.arguments } } : undefined;
}

/** Undefined: no node wrote it. */
export function readAnswer(text: string): AnswerMessage | undefined {
  const fields = readHead(text);
  if (fields === undefined) return undefined;
  const { id, from, error } = fields;
  if ('value' in fields) return { id, from, outcome: { value: fields.value } };
  if (typeof error !== 'string') return undefined;
  // A reason of a later version.
  return { id, from, outcome: { error: errors.find((known) => known === error) ?? 'failed' } };
}

function readHead(text: string): ({ id: string; from: string } & Record<string, unknown>) | undefined {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof fields !== 'object' || fields === null) return undefined;
  const { v, id, from } = fields as Record<string, unknown>;
  const isNodes = typeof v === 'number' && typeof id === 'string' && typeof from === 'string';
  if (!isNodes || !idGrammar.test(id) || !instanceGrammar.test(from)) return undefined;
  return { ...(fields as Record<string, unknown>), id, from };
}
