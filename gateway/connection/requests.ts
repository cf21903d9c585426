/**
 * What a connection asks for in a room beside membership: to publish, to read history, to read who is there.
 *
 * Each is allowed or refused, handed on, and answered once. It keeps no state and knows no order: that frames of a
 * connection come here one after the other is gateway/connection/connection.ts. Next: gateway/rooms/hub.ts, gateway/rooms/presence.ts.
 */

import type { Identity } from '../auth/grants.ts';
import { BackplaneError } from '../backplane/backplane.ts';
import { failure, ok, present } from '../protocol/answers.ts';
import type { HistoryFrame, PresenceFrame } from '../protocol/frame.ts';
import { historyAnswer, historyQuery } from '../protocol/history.ts';
import type { RoomFrame } from './membership.ts';
import type { Node } from './node.ts';
import { rejection } from './rejection.ts';

/** The connection that asks. */
export interface Asker {
  /** Publishes that are not answered yet. */
  publishesUnderWay: number;
  isMember(room: string): boolean;
  send(frame: string): void;
  fail(error: unknown): void;
}

type PublishFrame = Extract<RoomFrame, { type: 'publish' }>;

export function request(
  frame: PublishFrame | HistoryFrame | PresenceFrame,
  identity: Identity,
  asker: Asker,
  node: Node,
): void {
  if (frame.type === 'publish') publish(frame, identity, asker, node);
  else if (!node.access.allowsReading(identity, frame.type, frame.room, asker.isMember(frame.room))) {
    asker.send(failure(frame.id, 'forbidden', forbidden[frame.type]));
  } else {
    const answer = frame.type === 'history' ? history(frame, node) : presence(frame, node);
    answer
      .then(
        (text) => asker.send(text),
        (error: unknown) => asker.send(rejection(node.faults, 'a question failed', error, frame.id, 'ask again')),
      )
      .catch((error: unknown) => asker.fail(error));
  }
}

const forbidden = {
  history: 'Only members of a room that keeps history may read it, or a token that says so.',
  presence: 'Only members of a room whose rule has presence may ask who is there, or a token that says so.',
};

function publish(frame: PublishFrame, identity: Identity, asker: Asker, node: Node): void {
  const { access, faults, hub, events, publisher } = node;
  const { id, room } = frame;
  if (!access.allows(identity, 'publish', room)) {
    asker.send(failure(id, 'forbidden', 'Neither a room rule nor the token allows to publish to this room.'));
    return;
  }
  asker.publishesUnderWay++;
  hub
    .publish(publisher.publication(frame, identity.user, access.rule(room).history))
    .then(
      ({ duplicate, position }) => {
        asker.publishesUnderWay--;
        if (!duplicate) events.published();
        if (id !== undefined) asker.send(ok({ id, ...position, ...(duplicate ? { duplicate } : {}) }));
      },
      (error: unknown) => {
        asker.publishesUnderWay--;
        events.publishFailed(error instanceof BackplaneError ? error.code : 'internal');
        asker.send(rejection(faults, 'publishing failed', error, id, 'publish again', 'with the same key'));
      },
    )
    .catch((error: unknown) => asker.fail(error));
}

async function history(frame: HistoryFrame, { backpressure, hub }: Node): Promise<string> {
  return historyAnswer(frame, await hub.history(frame.room, historyQuery(frame, backpressure.softBytes)));
}

async function presence(frame: PresenceFrame, { presence }: Node): Promise<string> {
  return present(frame.id, await presence.page(frame.room, frame));
}
