/**
 * The session: the key, in memory only, and all requests of the page.
 *
 * The key is a variable of this module: never in storage, in a cookie, in an address, or in the document once it is taken. It
 * goes into the `authorization` header of requests to this node.
 */

/** @type {string | undefined} */
let key;
/** Called when the node does not take the key. */
let refused = signOut;

/** @param {string} taken @param {() => void} onRefused */
export function signIn(taken, onRefused) {
  key = taken;
  refused = onRefused;
}

export function signOut() {
  key = undefined;
}

/** An answer that is an error. Its message is for people. */
export class RequestError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * A call of the HTTP API.
 * @param {string} path  with its query
 * @param {RequestInit} [options]
 */
export async function call(path, options = {}) {
  const response = await request(path, options);
  return response.json();
}

/** The node sends something at least every six seconds. */
const silentMs = 15_000;

/**
 * Reads a stream of events until it ends or is silent. Rejects with a RequestError, or as fetch does.
 * @param {string} path
 * @param {AbortSignal} signal
 * @param {(name: string, data: any) => void} take
 */
export async function follow(path, signal, take) {
  const line = new AbortController();
  let silence = setTimeout(() => line.abort(), silentMs);
  try {
    const response = await request(path, { signal: AbortSignal.any([signal, line.signal]) });
    if (response.body === null) return;
    let rest = '';
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      clearTimeout(silence);
      if (done) return;
      silence = setTimeout(() => line.abort(), silentMs);
      const events = (rest + value).split('\n\n');
      rest = events.pop() ?? '';
      for (const text of events) {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(text) ?? [];
        if (name !== undefined && data !== undefined) take(name, JSON.parse(data));
      }
    }
  } finally {
    clearTimeout(silence);
  }
}

/** @param {string} path @param {RequestInit} options */
async function request(path, options) {
  const response = await fetch(path, {
    ...options,
    headers: { ...options.headers, authorization: `Bearer ${key}` },
    cache: 'no-store',
    credentials: 'omit',
    redirect: 'error',
    referrerPolicy: 'no-referrer',
  });
  if (response.ok) return response;
  if (response.status === 401) refused();
  const problem = response.headers.get('content-type')?.includes('json') ? await response.json() : {};
  throw new RequestError(response.status, problem.detail ?? `The node answered ${response.status}.`);
}
