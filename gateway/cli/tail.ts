/**
 * `roomcast tail`: a room as lines. Messages, joins, leaves and gaps go to standard output, in their order; the state of the
 * connection goes to standard error, so that a pipe gets nothing else. With `--json` all are JSON lines on standard output.
 */
import type { OkFrame, Position } from '../../shared/protocol.ts';
import { Follower, type Listener, type RoomFrame } from './follower.ts';
import type { Target } from './link.ts';
import { print, printable } from './output.ts';
import { placeOf } from './publish.ts';

export interface TailOptions {
  since?: Position;
  /** Ends after so many messages. */
  count?: number;
  json?: true;
}

/** Resolves after `count` messages, or on SIGINT or SIGTERM. Rejects with a Failure. */
export async function tail(target: Target, room: string, options: TailOptions): Promise<void> {
  let follower: Follower | undefined;
  const ended = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
    let left = options.count ?? Number.POSITIVE_INFINITY;
    const listener = options.json ? jsonListener(room) : textListener(room);
    follower = new Follower(target, room, {
      ...listener,
      frame: (frame, text) => {
        if (left === 0) return;
        listener.frame(frame, text);
        if (frame.type === 'message' && --left === 0) resolve();
      },
    });
  });
  await Promise.race([ended, follower?.follow(options.since)]);
  await follower?.close();
}

/** Frames as they came; `subscribed` and `interrupted` are of the command itself. */
function jsonListener(room: string): Listener {
  const line = (event: object) => print(`${JSON.stringify(event)}\n`);
  return {
    frame: (_frame, text) => print(`${text}\n`),
    joined: ({ epoch, offset, recovered }, { node, missing }) =>
      line({ type: 'subscribed', room, node, epoch, offset, recovered, missing }),
    interrupted: (reason) => line({ type: 'interrupted', room, reason }),
  };
}

function textListener(room: string): Listener {
  const say = (text: string) => void process.stderr.write(`${printable(text)}\n`);
  return {
    frame: (frame) => print(`${printable(lineOf(frame))}\n`),
    joined: (ok, { node, since, missing }) => {
      if (missing) print(`-- gap: ${missingText(ok, since)}\n`);
      const recovered = ok.recovered ? '; nothing is missing' : '';
      say(`subscribed to ${placeOf(room, ok)}, on node ${node}${recovered}`);
    },
    interrupted: say,
  };
}

function missingText({ epoch, offset }: OkFrame, since: Position | undefined): string {
  if (epoch === undefined) return 'messages may be missing here: this room keeps none';
  return `messages behind ${since?.epoch}:${since?.offset} are not kept any more; it goes on at ${epoch}:${offset}`;
}

function lineOf(frame: RoomFrame): string {
  switch (frame.type) {
    case 'message':
      return [
        new Date(frame.at).toISOString(),
        frame.offset ?? frame.id,
        frame.from ?? '-',
        JSON.stringify(frame.data),
      ].join(' ');
    case 'gap': {
      const { reason, count, first, last, epoch, offset } = frame;
      if (reason === 'epoch') return `-- gap: epoch ${epoch} begins; what was published before it may be missing`;
      if (count === 0) return `-- gap: no message is missing, but joins and leaves may be (${reason})`;
      const which = first === undefined ? '' : `, offsets ${first} to ${last}`;
      const position = offset === undefined ? '' : `; it goes on at ${epoch}:${offset}`;
      return `-- gap: ${count ?? 'an unknown number of'} messages are missing${which} (${reason})${position}`;
    }
    default: {
      const names = frame.members.map((member) => ('user' in member ? member.user : member.connection));
      return `-- ${frame.type}: ${names.join(', ')}`;
    }
  }
}
