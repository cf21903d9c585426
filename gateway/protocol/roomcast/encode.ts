/** Encodes replies in the native dialect. Pure functions. Undefined fields are left out. */
import type { JoinLeaveFrame, OkFrame, PresentMember } from '../../../shared/protocol.ts';
import type { HistoryReply, PresenceReply, Reply } from '../reply.ts';

export function encode(reply: Reply): string {
  if (reply.type === 'history') return historyPage({ type: 'ok', id: reply.id }, reply);
  if (reply.type === 'presence') return presencePage({ type: 'ok', id: reply.id }, reply);
  // It has no finer codes.
  return JSON.stringify(reply.type === 'error' ? { ...reply, finer: undefined } : reply);
}

/** What an answer begins with: an `ok` of the wire protocol, or nothing in an answer of the HTTP API. */
type Opening = Pick<OkFrame, 'type' | 'id'> | Record<string, never>;

/** Inserts the finished frames of the messages into the page, without parsing them. */
export function historyPage(
  opening: Opening,
  { epoch, offset, first, messages, more }: Omit<HistoryReply, 'type' | 'id'>,
): string {
  const head = JSON.stringify({ ...opening, epoch, offset, first } satisfies Partial<OkFrame>).slice(0, -1);
  const list = messages.map((frame) => Buffer.from(frame).toString()).join(',');
  return `${head},"messages":[${list}]${more ? ',"more":true' : ''}}`;
}

export function presencePage(
  opening: Opening,
  { count, users, members, more }: Omit<PresenceReply, 'type' | 'id'>,
): string {
  const head = JSON.stringify({ ...opening, count, users } satisfies Partial<OkFrame>).slice(0, -1);
  const list = members.map(({ connection, user, info }) => {
    const fields = JSON.stringify({ connection, user } satisfies PresentMember);
    return info === undefined ? fields : `${fields.slice(0, -1)},"info":${info}}`;
  });
  return `${head},"members":[${list.join(',')}]${more ? ',"more":true' : ''}}`;
}

/** Encodes each member once. Each frame then is the list of all members without one. */
export function joinOfOthers({ room, members }: JoinLeaveFrame): (index: number) => string {
  const parts = members.map((member) => JSON.stringify(member));
  const list = parts.join(',');
  return (index) => `{"type":"join","room":"${room}","members":[${without(list, parts, index)}]}`;
}

/** `list` is `parts` joined by commas; returns it without the part at `index`. */
function without(list: string, parts: string[], index: number): string {
  let from = 0;
  for (let before = 0; before < index; before++) from += (parts[before]?.length ?? 0) + 1;
  const to = from + (parts[index]?.length ?? 0);
  return to === list.length ? list.slice(0, Math.max(0, from - 1)) : list.slice(0, from) + list.slice(to + 1);
}
