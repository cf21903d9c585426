/**
 * `roomcast publish`: one message, acknowledged or not.
 *
 * Owns what becomes of its outcome: what is unknown is never called a success, nor a loss.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { closeCode } from '../../shared/codes.ts';
import type { ErrorFrame, OkFrame } from '../../shared/protocol.ts';
import { Failure, WrongUse } from './failure.ts';
import { Link, type Target } from './link.ts';

const answerMs = 10_000;

export interface Message {
  room: string;
  /** Any JSON, as it is sent. */
  data: string;
  key: string | undefined;
}

/** DATA of the command line as JSON: text that is none is a string, unless it looks like JSON with a mistake. */
export function dataOf(text: string, isText: boolean): string {
  if (isText) return JSON.stringify(text);
  try {
    JSON.parse(text);
    return text;
  } catch (error) {
    if (!/^\s*[[{"]/.test(text)) return JSON.stringify(text);
    throw new WrongUse(`DATA is not JSON: ${(error as Error).message}; --text sends it as a string.`);
  }
}

/** Resolves with the gateway's `ok`. Rejects with a Failure. */
export async function publish(target: Target, { room, data, key }: Message): Promise<OkFrame> {
  let answered: (frame: OkFrame | ErrorFrame) => void;
  const answer = new Promise<OkFrame | ErrorFrame>((resolve) => {
    answered = resolve;
  });
  const link = await Link.open(target, (frame) => {
    if (frame.type === 'ok' || frame.type === 'error') answered(frame);
  });
  const fields = JSON.stringify({ type: 'publish', id: 1, room, ...(key === undefined ? {} : { key }) });
  link.send(`${fields.slice(0, -1)},"data":${data}}`);
  const outcome = await Promise.race([answer, link.ended, delay(answerMs, undefined, { ref: false })]);
  const again =
    key === undefined ? 'with --key it could be repeated without a double' : 'repeat it with the same --key';
  if (outcome === undefined) {
    throw new Failure(`no answer within ${answerMs / 1000} s. It is unknown whether the message was taken: ${again}.`);
  }
  if ('text' in outcome) {
    const { code, text } = outcome;
    // Refused before it had an identity: nothing of it was obeyed.
    const isRefused = code === closeCode.unauthorized || code === closeCode.authTimeout;
    if (isRefused) throw new Failure(`the gateway closed the connection (${text}). The message was not taken.`);
    throw new Failure(`the connection ended (${text}). It is unknown whether the message was taken: ${again}.`);
  }
  await link.close();
  if (outcome.type === 'error') throw new Failure(refusalText(outcome));
  return outcome;
}

/** `forbidden: Neither …`, and for what a token decides, where to get one. */
export function refusalText({ code, message }: ErrorFrame): string {
  const hint = code === 'unauthorized' ? ' Give --token or ROOMCAST_TOKEN; `roomcast token` makes one.' : '';
  return `${code}: ${message}${hint}`;
}

/** `chat:lobby, offset 12 of epoch x1`; of a plain room its name. */
export function placeOf(room: string, { epoch, offset }: Pick<OkFrame, 'epoch' | 'offset'>): string {
  return offset === undefined ? room : `${room}, offset ${offset} of epoch ${epoch}`;
}
