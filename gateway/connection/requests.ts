/**
 * Requests of a connection that are operations (gateway/operations): each is performed and answered once.
 *
 * Keeps no state and no order: that requests of a connection come here one after the other is
 * gateway/connection/connection.ts.
 */
import type { FrameId } from '../../shared/protocol.ts';
import type { Client } from '../operations/caller.ts';
import { history } from '../operations/history.ts';
import { presence } from '../operations/presence.ts';
import { publish } from '../operations/publish.ts';
import type { Refusal } from '../operations/refusal.ts';
import type { Reply } from '../protocol/reply.ts';
import type { HistoryRequest, PresenceRequest, PublishRequest } from '../protocol/request.ts';
import type { ConnectionParts } from './parts.ts';

/** The connection that asks. */
export interface Asker extends Client {
  /** Publishes that are not answered yet. */
  publishesUnderWay: number;
  reply(reply: Reply): void;
  refuse(id: FrameId | undefined, refusal: Refusal): void;
  fail(error: unknown): void;
}

export function perform(
  request: PublishRequest | HistoryRequest | PresenceRequest,
  asker: Asker,
  parts: ConnectionParts,
): void {
  if (request.type === 'publish') answerPublish(request, asker, parts);
  else {
    const { id } = request;
    const reply = request.type === 'history' ? readHistory(request, asker, parts) : readPresence(request, asker, parts);
    reply
      .then(
        (value) => asker.reply(value),
        (refusal: Refusal) => asker.refuse(id, refusal),
      )
      .catch((error: unknown) => asker.fail(error));
  }
}

function answerPublish(request: PublishRequest, asker: Asker, parts: ConnectionParts): void {
  const { id } = request;
  asker.publishesUnderWay++;
  publish(parts, asker, request)
    .then(
      ({ duplicate, position }) => {
        asker.publishesUnderWay--;
        if (id !== undefined) asker.reply({ type: 'ok', id, ...position, ...(duplicate ? { duplicate } : {}) });
      },
      (refusal: Refusal) => {
        asker.publishesUnderWay--;
        asker.refuse(id, refusal);
      },
    )
    .catch((error: unknown) => asker.fail(error));
}

async function readHistory(request: HistoryRequest, asker: Asker, parts: ConnectionParts): Promise<Reply> {
  const answer = await history(parts, asker, request, parts.backpressure.softBytes);
  return { type: 'history', id: request.id, ...answer };
}

async function readPresence(request: PresenceRequest, asker: Asker, parts: ConnectionParts): Promise<Reply> {
  return { type: 'presence', id: request.id, ...(await presence(parts, asker, request)) };
}
