/**
 * Commands of a client that only has HTTP, handed to the node that has its session: any node may get the request. The session
 * is a secret between that node and the client, so it is what allows this.
 */
import { z } from 'zod';
import { maxCommandBytes } from '../../backplane/control.ts';
import { server } from '../caller.ts';
import { Refusal } from '../refusal.ts';
import { askAll, type ClusterParts, clusterCommand } from './ask.ts';

/** Of a command of the control channel, besides these. */
const restBytes = 1_024;

const emulateCommand = clusterCommand({
  kind: 'emulate',
  arguments: z.strictObject({
    session: z.string().max(100),
    data: z.string(),
    /** Of `data`. */
    encoding: z.enum(['utf8', 'base64']),
  }),
  value: z.boolean(),
  perform: ({ emulated }, { session, data, encoding }) => emulated.receive(session, Buffer.from(data, encoding)),
});

export const emulateCommands = [emulateCommand];

export interface Emulated {
  /** The run of the node that has the session. */
  node: string;
  session: string;
  data: Buffer;
  /** It is no text. */
  binary: boolean;
}

/** Resolves to false if no such node lives. Rejects with a Refusal. */
export async function emulate(parts: ClusterParts, { node, session, data, binary }: Emulated): Promise<boolean> {
  const encoding = binary ? 'base64' : 'utf8';
  const values = { session, data: data.toString(encoding), encoding } as const;
  if (Buffer.byteLength(JSON.stringify(values)) > maxCommandBytes - restBytes) {
    throw new Refusal(
      'too_large',
      'The commands are too large for a request that another node has to perform; send less.',
    );
  }
  const { values: answers, rest } = await askAll(parts, server, emulateCommand, values, node);
  if (answers.length > 0) return true;
  if (rest.missing === undefined) return false;
  throw new Refusal('timeout', 'The node of the session has not answered; connect again.');
}
