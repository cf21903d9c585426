/**
 * How a backend publishes: one request to the HTTP API of any node.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const api = 'http://127.0.0.1:8081/api';
const apiKey = readFileSync('api-key', 'utf8').trim();
const attempts = 20;
const pauseMs = 500;

/**
 * Resolves with `{epoch, offset}` in a room with history. It is tried again while the gateway cannot be reached or says that
 * it cannot now; the `key` makes sure that the room gets it once.
 */
export async function publish(room, data, key) {
  for (let attempt = 1; ; attempt++) {
    const problem = await fetch(`${api}/rooms/${encodeURIComponent(room)}/messages`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ data, key }),
    }).then(
      async (response) => (response.ok ? { published: await response.json() } : response),
      (error) => error,
    );
    if ('published' in problem) return problem.published;
    const isFinal = problem.status < 500 && problem.status !== 429;
    if (isFinal || attempt === attempts)
      throw new Error(`not published: ${problem.status ?? problem.cause ?? problem}`);
    await delay(pauseMs);
  }
}
