/**
 * The texts of what the gateway answers. Pure functions; a field that is undefined is left out.
 */
import type { ErrorCode } from '../../shared/codes.ts';
import type {
  ErrorFrame,
  FrameId,
  GapFrame,
  OkFrame,
  PongFrame,
  PresentMember,
  ReconnectFrame,
  UnsubscribedFrame,
} from '../../shared/protocol.ts';
import { BackplaneError } from '../backplane/backplane.ts';
import type { PresencePage } from '../backplane/presence.ts';

/** A field may be given as undefined, which JSON leaves out. */
type Fields<Frame> = {
  [Key in keyof Omit<Frame, 'type'>]: Frame[Key] | undefined;
};

export function ok(fields: Fields<OkFrame>): string {
  return JSON.stringify({ type: 'ok', ...fields });
}

export function pong(id: FrameId | undefined): string {
  return JSON.stringify({ type: 'pong', id } satisfies { type: 'pong' } & Fields<PongFrame>);
}

/** `message` is a sentence that says what to do. */
export function failure(id: FrameId | undefined, code: ErrorCode, message: string, retryAfterMs?: number): string {
  return JSON.stringify({ type: 'error', id, code, message, retryAfterMs } satisfies {
    type: 'error';
  } & Fields<ErrorFrame>);
}

/**
 * Trouble with the backplane; any other error is a fault of the gateway, whose text is none of the client's business.
 * `again` is what the client could do again; `how`, where the outcome is unknown.
 */
export function trouble(id: FrameId | undefined, error: unknown, again: string, how = 'in a moment'): string {
  const { code, message } = error instanceof BackplaneError ? error : fault;
  return failure(id, code, `${message}; ${again} ${code === 'unavailable' ? 'in a moment' : how}.`);
}

const fault = { code: 'internal', message: 'a fault of the gateway, which is in its log' } as const;

/** The fields of a `gap` frame but its room. */
export type Gap = Omit<Partial<Fields<GapFrame>>, 'room' | 'reason'> & Pick<GapFrame, 'reason'>;

export function gap(room: string, fields: Gap): string {
  return JSON.stringify({ type: 'gap', room, ...fields });
}

/** The answer to `presence`. */
export function present(id: FrameId, { count, users, members, more }: PresencePage): string {
  const head = JSON.stringify({ type: 'ok', id, count, users } satisfies OkFrame).slice(0, -1);
  const list = members.map(({ connection, user, info }) => {
    const fields = JSON.stringify({ connection, user } satisfies PresentMember);
    return info === undefined ? fields : `${fields.slice(0, -1)},"info":${info}}`;
  });
  return `${head},"members":[${list.join(',')}]${more ? ',"more":true' : ''}}`;
}

export function reconnect(reason: ReconnectFrame['reason'], afterMs: number): string {
  return JSON.stringify({ type: 'reconnect', afterMs, reason } satisfies ReconnectFrame);
}

export function unsubscribed(room: string, reason: UnsubscribedFrame['reason']): string {
  return JSON.stringify({ type: 'unsubscribed', room, reason } satisfies UnsubscribedFrame);
}
