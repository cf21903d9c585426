/**
 * What is known of a peer's being alive: its answer to our WebSocket pings, and its own `ping` frames.
 *
 * Holds times only, in ms of one clock that the caller passes. When to ping and what silence costs is decided elsewhere
 * (gateway/connection/heartbeat.ts, gateway/connection/connection.ts).
 */
export class Liveness {
  #lastFrameAt: number;
  /** It has sent a `ping` frame, so it means to go on sending them. */
  #sendsPings = false;
  #pingSentAt = 0;
  #readAt = 0;

  constructor(now: number) {
    this.#lastFrameAt = now;
  }

  sentFrame(now: number): void {
    this.#lastFrameAt = now;
  }

  sentPing(): void {
    this.#sendsPings = true;
  }

  /** It has read some of what was buffered for it. */
  hasRead(now: number): void {
    this.#readAt = now;
  }

  /** False if a ping is not answered yet; otherwise one is under way from now on, with this time as its payload. */
  startPing(now: number): boolean {
    if (this.#pingSentAt !== 0) return false;
    this.#pingSentAt = now;
    return true;
  }

  /** Returns the round trip if this answers the ping that is under way. */
  ponged(payload: string, now: number): number | undefined {
    if (this.#pingSentAt === 0 || payload !== String(this.#pingSentAt)) return undefined;
    const roundTrip = now - this.#pingSentAt;
    this.#pingSentAt = 0;
    return roundTrip;
  }

  /** True if a ping went unanswered. A ping waits behind what is buffered: a reader that reads is alive. */
  missesPong(now: number, timeoutMs: number): boolean {
    return this.#pingSentAt !== 0 && now - Math.max(this.#pingSentAt, this.#readAt) >= timeoutMs;
  }

  /** True if it sends `ping` frames and nothing has come for so long; 0 is no limit. */
  isSilent(now: number, timeoutMs: number): boolean {
    return this.#sendsPings && timeoutMs > 0 && now - this.#lastFrameAt >= timeoutMs;
  }
}
