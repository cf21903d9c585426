/**
 * The operator's backend: calls of a node's HTTP API, as raw as a test needs them.
 *
 * Owns nothing but the key that the tests' nodes have. node:http sends paths as they are, where `fetch` would tidy them up.
 */
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { within } from '../support/until.ts';

export const apiKey = 'an-api-key-for-the-tests';

type Node = { adminPort: number };

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** Of a body that is JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: each test knows the answer it asks for.
  json: any;
}

export interface CallOptions {
  /** Sent as it is if it is a string; an object as JSON. */
  body?: object | string | Buffer;
  /** Over the usual ones; undefined leaves one out. */
  headers?: Record<string, string | undefined>;
}

const deadlineMs = 15_000;

/** One call, with a good key and a good content type unless `headers` says otherwise. */
export function call(node: Node, method: string, path: string, options: CallOptions = {}): Promise<Answer> {
  const { body } = options;
  const bytes = typeof body === 'object' && !Buffer.isBuffer(body) ? JSON.stringify(body) : body;
  const all = {
    authorization: `Bearer ${apiKey}`,
    ...(bytes === undefined ? {} : { 'content-type': 'application/json' }),
    ...options.headers,
  };
  const headers = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  const answered = new Promise<Answer>((resolve, reject) => {
    const agent = new Agent();
    const asked = request({ host: '127.0.0.1', port: node.adminPort, agent, method, path, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.on('error', reject).on('end', () => {
        const isJson = /json/.test(response.headers['content-type'] ?? '') && text !== '';
        const json = isJson ? JSON.parse(text) : undefined;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    asked.on('error', reject).end(bytes);
  });
  return within(answered, deadlineMs, `the answer to ${method} ${path}`);
}

/** Publishes one message. */
export function post(node: Node, room: string, body: object, options: CallOptions = {}): Promise<Answer> {
  return call(node, 'POST', `/api/rooms/${encodeURIComponent(room)}/messages`, { body, ...options });
}
