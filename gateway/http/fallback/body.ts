/** The body of a request: collected, with a bound on its bytes and its time. */
import type { LibraryResponse } from './response.ts';

/**
 * The library cuts a connection whose body does not arrive, without an answer, after 8 to 12 s. Before that it can still
 * be answered.
 */
export const bodyMs = 7_000;

/** To be called in the handler of the request. Calls `taken` once, with the body or with what is wrong with it. */
export function takeBody(
  res: LibraryResponse,
  maxBytes: number,
  taken: (body: Buffer | 'too large' | 'too slow') => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let done = false;
  const finish = (body: Parameters<typeof taken>[0]) => {
    if (done) return;
    done = true;
    clearTimeout(timer);
    taken(body);
  };
  const timer = setTimeout(() => finish('too slow'), bodyMs);
  res.onData((chunk, isLast) => {
    if (done) return;
    bytes += chunk.byteLength;
    if (bytes > maxBytes) {
      finish('too large');
      return;
    }
    // The library takes the bytes back when this handler returns.
    chunks.push(Buffer.from(chunk.slice(0)));
    if (isLast) finish(Buffer.concat(chunks));
  });
}
