/** Publish: sends one message to one room, on all nodes. */
import type { Publication, Published } from '../backplane/backplane.ts';
import { BackplaneError } from '../backplane/backplane.ts';
import type { Message, MessageStamper } from '../protocol/roomcast/message.ts';
import type { Access } from '../rooms/access.ts';
import type { Hub } from '../rooms/hub.ts';
import type { Events, PublishOutcome, PublishSource } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Authorised } from './authorise.ts';
import type { Client } from './caller.ts';
import { Refusal, refusalOf } from './refusal.ts';

/** Has publishes wait for a place, so that those of one way leave some to others (gateway/admission/lane.ts). */
export interface Lane {
  /** Returns what `end` needs. A promise only if there is no place now. */
  begin(data: string): number | Promise<number>;
  end(bytes: number): void;
}

export interface PublishParts {
  access: Access;
  hub: Hub;
  stamper: MessageStamper;
  events: Events;
  faults: Faults;
  /** For what comes by no connection. `post`: a publish of a client by HTTP. */
  lanes: Record<'api' | 'input' | 'post', Lane>;
}

/** What the operator's server publishes. */
export interface ServerMessage extends Message {
  /** In whose name; undefined: nobody's. */
  from: string | undefined;
}

export interface ServerPublished extends Published {
  /** In a plain room: of the message, unless it is a duplicate. */
  id?: string | undefined;
}

/**
 * Resolves when the backplane has taken the message, or has found an earlier one with the same key (`duplicate`). A
 * room with history adds the position. Rejects with a Refusal: `forbidden` or `unavailable` (not published), `timeout`
 * or `internal` (unknown outcome). `authorised`: what gateway/operations/authorise.ts says of it. The caller has checked the
 * fields of `message`.
 */
export function publish(
  parts: PublishParts,
  caller: Client,
  authorised: Authorised,
  message: Message,
): Promise<Published> {
  const { access, events, stamper } = parts;
  if (authorised instanceof Refusal) {
    events.publishEnded('client', outcomeOf(authorised), 0);
    return Promise.reject(authorised);
  }
  const from = caller.identity?.user ?? null;
  return send(parts, stamper.stamp(message, from, access.rule(message.room).history), 'client');
}

/**
 * The same for the operator's own server, which may publish to every room and in anybody's name. Its keys are its own: no
 * user can take one before it does. `source`: by which way it came. `mayGoOn`: asked when it has waited for its place; if that is
 * false it is `unavailable`.
 */
export async function publishFromServer(
  parts: PublishParts,
  message: ServerMessage,
  source: Exclude<PublishSource, 'client'> = 'api',
  mayGoOn?: () => boolean,
): Promise<ServerPublished> {
  const { access, lanes, stamper } = parts;
  const place = lanes[source].begin(message.data);
  const hadPlace = typeof place === 'number';
  const bytes = hadPlace ? place : await place;
  try {
    if (!hadPlace && mayGoOn?.() === false)
      throw new Refusal('unavailable', 'It waited for its place until somebody else had taken it over.');
    const { history } = access.rule(message.room);
    const publication = stamper.stamp(message, message.from ?? null, history, null);
    const { duplicate, position } = await send(parts, publication, source);
    return { duplicate, position, id: duplicate ? undefined : publication.id };
  } finally {
    lanes[source].end(bytes);
  }
}

/** `forbidden`, or `unavailable` without an answer of the operator's backend. */
function outcomeOf({ code }: Refusal): PublishOutcome {
  return code === 'forbidden' || code === 'unavailable' ? code : 'internal';
}

function send(parts: PublishParts, publication: Publication, source: PublishSource): Promise<Published> {
  const { events, faults, hub } = parts;
  return hub.publish(publication).then(
    (published) => {
      events.publishEnded(source, published.duplicate ? 'duplicate' : 'ok', secondsSince(publication.at));
      return published;
    },
    (error: unknown) => {
      const outcome = error instanceof BackplaneError ? error.code : 'internal';
      events.publishEnded(source, outcome, secondsSince(publication.at));
      throw refusalOf(faults, 'publishing failed', error, { again: 'publish again', uncertain: 'with the same key' });
    },
  );
}

/**
 * `at`: Unix ms, as everywhere in a publication. A finer clock would cost more memory than all other metrics of a publish
 * together.
 */
function secondsSince(at: number): number {
  return Math.max(0, Date.now() - at) / 1000;
}
