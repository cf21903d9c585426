/**
 * Calls: what a client has the operator's backend do (GATEWAY_RPC_URL), and what the backend answers.
 *
 * Owns the bound on calls under way, and the form of both. A call is sent once, because it changes something. Who may call, and in
 * which order, is decided elsewhere: gateway/connection/requests.ts.
 */
import { z } from 'zod';
import { scanObject } from '../../protocol/roomcast/object-text.ts';
import type { BackendMetrics } from '../../telemetry/backend-metrics.ts';
import type { CallKind, CallResult, Events } from '../../telemetry/events.ts';
import { type Logger, truncate } from '../../telemetry/log.ts';
import { mistakesOf } from '../grants.ts';
import { Exchange, SlowAnswerError } from './exchange.ts';

/** Its fields are sent as they are, with `data` behind them. */
export interface Call {
  action: CallKind;
  /** Null: anonymous. */
  user: string | null;
  connection: string | null;
  address: string;
  method?: string;
}

/** JSON text, or the error that the backend wants its client to see. `unanswered`: neither came. */
export type CallAnswer = { data: string } | { code: number; message: string } | 'unanswered';

const maxUnderWay = 256;
/** Codes of the protocol are below; close codes are above. */
const codes = { least: 400, most: 1_999 };
const maxErrorCharacters = 500;

const answerSchema = z.object({
  error: z
    .object({
      code: z.int().min(codes.least, `must be ${codes.least} to ${codes.most}`).max(codes.most),
      message: z.string().min(1).max(maxErrorCharacters),
    })
    .nullish(),
});

/** The settings (gateway/settings.ts) about calls. */
interface CallSettings {
  rpcUrl: string | undefined;
  rpcSecrets: Buffer[] | undefined;
  maxMessageBytes: number;
}

/** Undefined without GATEWAY_RPC_URL. */
export function createCalls(
  { maxMessageBytes: maxAnswerBytes, rpcSecrets, rpcUrl }: CallSettings,
  events: BackendMetrics,
  log: Logger,
): Calls | undefined {
  if (rpcUrl === undefined) return undefined;
  events.expectCalls();
  const terms = { setting: 'GATEWAY_RPC_URL', expected: '{"data": ...}', repeatable: false, maxAnswerBytes };
  return new Calls(new Exchange(rpcUrl, rpcSecrets ?? [], terms), { events, log });
}

export class Calls {
  readonly #exchange: Exchange;
  readonly #parts: { events: Pick<Events, 'callAnswered'>; log: Logger };
  #underWay = 0;

  constructor(exchange: Exchange, parts: { events: Pick<Events, 'callAnswered'>; log: Logger }) {
    this.#exchange = exchange;
    this.#parts = parts;
  }

  /** `data`: JSON text, which the backend gets as it is. Never rejects. */
  async call(call: Call, data: string): Promise<CallAnswer> {
    const askedAt = performance.now();
    if (this.#underWay >= maxUnderWay) {
      this.#tell(call, 'overload', askedAt, `${maxUnderWay} calls are under way`);
      return 'unanswered';
    }
    this.#underWay++;
    try {
      const answer = readAnswer(await this.#exchange.ask(`${JSON.stringify(call).slice(0, -1)},"data":${data}}`));
      this.#tell(call, 'code' in answer ? 'refused' : 'answered', askedAt);
      return answer;
    } catch (error) {
      const result = error instanceof SlowAnswerError ? 'timeout' : 'error';
      this.#tell(call, result, askedAt, truncate((error as Error).message));
      return 'unanswered';
    } finally {
      this.#underWay--;
    }
  }

  /** Calls under way end as `unanswered`. */
  close(): void {
    this.#exchange.close();
  }

  #tell({ action }: Call, result: CallResult, askedAt: number, error?: string): void {
    const { events, log } = this.#parts;
    events.callAnswered(action, result, (performance.now() - askedAt) / 1_000);
    if (error !== undefined) log.warn({ backend: this.#exchange.origin, action, error }, 'a call has no answer');
  }
}

/** Throws an Error that says what is wrong with the answer. */
function readAnswer(text: string): Exclude<CallAnswer, 'unanswered'> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`the answer is not JSON: ${(error as Error).message}`);
  }
  const result = answerSchema.safeParse(json);
  if (!result.success) throw new Error(`the answer is not valid: ${mistakesOf(result.error).join('; ')}`);
  const { error } = result.data;
  if (error !== undefined && error !== null) return error;
  const scan = scanObject(text);
  if (scan === undefined) throw new Error('the answer is nested more than 64 levels deep');
  return { data: scan.data ?? 'null' };
}
