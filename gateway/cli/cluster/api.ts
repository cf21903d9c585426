/**
 * Calls of the HTTP API, for the commands that ask the whole cluster.
 *
 * Owns where the API is and its key, and the sentence for each way in which a call fails. It knows no call.
 */
import { ConfigError, type Environment } from '../../config.ts';
import { givenText } from '../../environment.ts';
import { settings } from '../../settings.ts';
import { Failure, WrongUse } from '../failure.ts';
import { adminUrl } from '../health.ts';
import { printable } from '../output.ts';

export interface ApiOptions {
  /** Without it: the admin port of this environment. */
  api?: string;
  /** Without it: the first of GATEWAY_API_KEY(_FILE). */
  key?: string;
  json?: true;
}

export interface Api {
  /** The admin port, with no `/` at its end. */
  url: string;
  key: string;
}

/** What an answer may say beside its result. */
export interface Missing {
  /** Nodes that have not confirmed in time. */
  missing?: string[];
}

/** Nodes have 2 s to confirm. */
const timeoutMs = 10_000;
const longestProblem = 500;

/** Throws a ConfigError, a Failure or a WrongUse. The key is in none of them. */
export function apiOf({ api, key = '' }: ApiOptions, env: Environment): Api {
  const mistakes: string[] = [];
  const ofNode = givenText(env, settings.apiKeys, mistakes).text;
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  const [first = ''] = ofNode.split(',').map((each) => each.trim());
  const sent = key.trim() || first;
  if (sent === '') throw new WrongUse('give --key or ROOMCAST_KEY: a key of GATEWAY_API_KEY on the nodes.');
  if (!/^[\x21-\x7e]+$/.test(sent)) throw new WrongUse('--key (or ROOMCAST_KEY) has white space, or is not ASCII.');
  // The page of the API shows it with /api.
  const url = (api ?? adminUrl(env)).replace(/\/+$/, '').replace(/\/api$/, '');
  return { url, key: sent };
}

/** `path`: behind `/api`. Resolves with the answer. Rejects with a Failure or a WrongUse. */
export async function call<Answer>(api: Api, method: string, path: string, fields?: object): Promise<Answer> {
  const { url, key } = api;
  const body = fields === undefined ? {} : { body: JSON.stringify(fields) };
  const headers = { authorization: `Bearer ${key}`, ...(fields === undefined ? {} : { 'content-type': jsonType }) };
  const signal = AbortSignal.timeout(timeoutMs);
  const away = (error: Error) => {
    const cause = (error.cause ?? error) as NodeJS.ErrnoException;
    const why = error.name === 'TimeoutError' ? `no answer within ${timeoutMs / 1_000} s` : cause.message || cause.code;
    return new Failure(`${url} does not answer: ${why}; check --api, the admin port of a node.`);
  };
  const response = await fetch(`${url}/api${path}`, { method, headers, signal, redirect: 'error', ...body }).catch(
    (error: Error) => Promise.reject(away(error)),
  );
  const text = await response.text().catch((error: Error) => Promise.reject(away(error)));
  if (response.ok && response.headers.get('content-type')?.startsWith(jsonType)) return JSON.parse(text) as Answer;
  const problem = problemOf(url, response.status, text);
  // What the command line asks for cannot be.
  throw response.status === 400 ? new WrongUse(problem) : new Failure(problem);
}

const jsonType = 'application/json';

function problemOf(url: string, status: number, text: string): string {
  const problem = parsed(text);
  if (typeof problem?.detail === 'string') {
    const code = `${problem.type}`.split('/').at(-1);
    const hint = status === 401 ? ' Give it by --key or ROOMCAST_KEY.' : '';
    return printable(`${code}: ${problem.detail}${hint}`.slice(0, longestProblem));
  }
  if (status === 404) return `${url} has no API: set GATEWAY_API_KEY on the node, and check --api, its admin port.`;
  return `${url} answered HTTP ${status}, which is no answer of the API; check --api, the admin port of a node.`;
}

/** Undefined if it is no JSON object. */
function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    // What answered is something else, which the caller says.
    return undefined;
  }
}

/** Throws a Failure if nodes are missing, whatever was printed. `what` says what that means. */
export function expectAll({ missing = [] }: Missing, what: string): void {
  if (missing.length === 0) return;
  const text = `no answer in time from ${missing.join(', ')}: ${what}. Repeat the command in a few seconds.`;
  throw new Failure(printable(text));
}
