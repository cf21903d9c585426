/** The body of a request that carries commands of a session, as JSON or as Protobuf. Pure functions. */
import { z } from 'zod';
import type { Emulated } from '../../operations/cluster/emulate.ts';
import { readMessage, Unreadable } from '../../protocol/centrifugo/protobuf/read.ts';
import { emulation } from '../../protocol/centrifugo/protobuf/schema.ts';
import { Problem } from '../problem.ts';

export const binaryType = 'application/octet-stream';

/** Longer than the name of any run of a node, and of any session. */
const maxNameCharacters = 200;
const name = z.string().min(1).max(maxNameCharacters);
const request = z.object({ node: name, session: name, data: z.string() });

/** Throws a Problem. */
export function readEmulation(body: Buffer, binary: boolean): Emulated {
  const read = request.safeParse(binary ? fromProtobuf(body) : fromJson(body));
  if (!read.success) {
    const detail = 'The body must have node and session, as in the answer to connect, and data: a frame of commands.';
    throw new Problem('bad_request', detail);
  }
  const { data, ...names } = read.data;
  return { ...names, binary, data: Buffer.from(data, binary ? 'base64' : 'utf8') };
}

function fromJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

function fromProtobuf(body: Buffer): unknown {
  try {
    return JSON.parse(readMessage(body, emulation));
  } catch (error) {
    if (error instanceof Unreadable) return undefined;
    throw error;
  }
}
