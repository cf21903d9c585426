/**
 * Requests of a connection that are operations (gateway/operations): performs each, and answers once.
 *
 * Keeps no state: gateway/connection/connection.ts calls it once per request, in order. Where a publish has to wait for the
 * operator's backend, the later requests for its room wait for it.
 */
import { type CloseCode, closeCode } from '../../shared/codes.ts';
import type { FrameId } from '../../shared/protocol.ts';
import type { CallAnswer } from '../auth/callback/calls.ts';
import { type Authorised, authorise } from '../operations/authorise.ts';
import type { Client } from '../operations/caller.ts';
import { history } from '../operations/history.ts';
import { presence } from '../operations/presence.ts';
import { publish } from '../operations/publish.ts';
import { Refusal } from '../operations/refusal.ts';
import type { Reply } from '../protocol/reply.ts';
import type { CallRequest, HistoryRequest, PresenceRequest, PublishRequest } from '../protocol/request.ts';
import type { Inbox, RoomOrder } from './inbox.ts';
import type { ConnectionParts } from './parts.ts';

/** What an operation needs of the connection that requests it. */
export interface Requester extends Client {
  /** It obeys no more requests. */
  readonly closing: boolean;
  reply(reply: Reply): void;
  refuse(id: FrameId | undefined, refusal: Refusal): void;
  fail(error: unknown): void;
  close(code: CloseCode): void;
  readonly inbox: RoomOrder & Pick<Inbox, 'publishBegan' | 'publishEnded'>;
}

export function perform(
  request: PublishRequest | HistoryRequest | PresenceRequest | CallRequest,
  requester: Requester,
  parts: ConnectionParts,
): void {
  if (request.type === 'publish') answerPublish(request, requester, parts);
  else if (request.type === 'call') answerCall(request, requester, parts);
  else {
    const { id } = request;
    const reply =
      request.type === 'history' ? readHistory(request, requester, parts) : readPresence(request, requester, parts);
    reply
      .then(
        (value) => requester.reply(value),
        (refusal: Refusal) => requester.refuse(id, refusal),
      )
      .catch((error: unknown) => requester.fail(error));
  }
}

/** The next call of this client waits for its answer. */
function answerCall({ id, room, method, data }: CallRequest, requester: Requester, parts: ConnectionParts): void {
  const { calls, freeze } = parts;
  if (calls === undefined) {
    if (id === undefined) requester.close(closeCode.unsupportedData);
    else requester.refuse(id, new Refusal('unsupported', 'This gateway has no GATEWAY_RPC_URL that could take it.'));
    return;
  }
  const { address, id: connection, identity } = requester;
  const who = { user: identity?.user ?? null, connection, address };
  requester.inbox.asks(room);
  calls
    .call(id === undefined ? { action: 'send', ...who } : { action: 'rpc', ...who, method }, data)
    .then((answer) => {
      // Before anything that waited is obeyed.
      freeze.check(performance.now());
      if (requester.closing) return;
      if (id !== undefined) replyTo(id, answer, requester);
      requester.inbox.answered(room);
    })
    .catch((error: unknown) => requester.fail(error));
}

function replyTo(id: FrameId, answer: CallAnswer, requester: Requester): void {
  if (answer === 'unanswered') {
    requester.refuse(
      id,
      new Refusal('timeout', 'The server behind it did not answer; it is unknown what it has done.'),
    );
  } else if ('data' in answer) requester.reply({ type: 'called', id, ...answer });
  else requester.reply({ type: 'uncalled', id, ...answer });
}

function answerPublish(request: PublishRequest, requester: Requester, parts: ConnectionParts): void {
  const authorised = authorise(parts, requester, 'publish', request.room);
  const bytes = requester.inbox.publishBegan(request.data);
  if (authorised instanceof Promise) publishOnceAnswered(authorised, request, bytes, requester, parts);
  else publishAs(authorised, request, bytes, requester, parts);
}

function publishOnceAnswered(
  authorised: Promise<Authorised>,
  request: PublishRequest,
  bytes: number,
  requester: Requester,
  parts: ConnectionParts,
): void {
  const { room } = request;
  requester.inbox.asks(room);
  authorised
    .then((settled) => {
      // The connection has ended, and its requests with it.
      if (requester.closing) requester.inbox.publishEnded(bytes);
      else publishAs(settled, request, bytes, requester, parts);
      requester.inbox.answered(room);
    })
    .catch((error: unknown) => requester.fail(error));
}

function publishAs(
  authorised: Authorised,
  request: PublishRequest,
  bytes: number,
  requester: Requester,
  parts: ConnectionParts,
): void {
  const { id } = request;
  // Hot path: no promise besides that of the publish.
  publish(parts, requester, authorised, request).then(
    (published) => {
      requester.inbox.publishEnded(bytes);
      if (id !== undefined) acknowledge(requester, id, published);
    },
    (refusal: Refusal) => {
      requester.inbox.publishEnded(bytes);
      refuse(requester, id, refusal);
    },
  );
}

type Published = Awaited<ReturnType<typeof publish>>;

function acknowledge(requester: Requester, id: FrameId, { duplicate, position }: Published): void {
  try {
    requester.reply({ type: 'ok', id, ...position, ...(duplicate ? { duplicate } : {}) });
  } catch (error) {
    requester.fail(error);
  }
}

function refuse(requester: Requester, id: FrameId | undefined, refusal: Refusal): void {
  try {
    requester.refuse(id, refusal);
  } catch (error) {
    requester.fail(error);
  }
}

async function readHistory(request: HistoryRequest, requester: Requester, parts: ConnectionParts): Promise<Reply> {
  const answer = await history(parts, requester, request, parts.backpressure.softBytes);
  return { type: 'history', id: request.id, ...answer };
}

async function readPresence(request: PresenceRequest, requester: Requester, parts: ConnectionParts): Promise<Reply> {
  return { type: 'presence', id: request.id, ...(await presence(parts, requester, request)) };
}
