/**
 * Liveness of a peer: its pongs to our WebSocket pings, and its own `ping` frames.
 *
 * Holds times only, in ms of performance.now(). When to ping is decided in gateway/connection/heartbeat.ts; what happens to a
 * silent peer, in gateway/connection/connection.ts.
 */
export class Liveness {
  readonly openedAt: number;
  #lastFrameAt: number;
  /** It has sent a `ping` frame, so silence is a sign that it is gone. */
  #sendsPings = false;
  #pingSentAt = 0;
  #readAt = 0;
  /** Of the last ping that was answered, whole ms; 0: none was. */
  #roundTripMs = 0;

  constructor(now: number) {
    this.openedAt = now;
    this.#lastFrameAt = now;
  }

  /** In the units of gateway/operations/local-node.ts. */
  get forOperator(): { openedAt: number; rttMs: number | null } {
    const openMs = performance.now() - this.openedAt;
    return { openedAt: Math.round(Date.now() - openMs), rttMs: this.#roundTripMs === 0 ? null : this.#roundTripMs };
  }

  sentFrame(now: number): void {
    this.#lastFrameAt = now;
  }

  sentPing(): void {
    this.#sendsPings = true;
  }

  /** The peer has read some of its buffer. */
  hasRead(now: number): void {
    this.#readAt = now;
  }

  /** Starts a ping, with `now` as its payload. False if the last one has no pong yet. */
  startPing(now: number): boolean {
    if (this.#pingSentAt !== 0) return false;
    this.#pingSentAt = now;
    return true;
  }

  /**
   * Returns the round trip in ms if this pong answers the current ping. `byPeer`: false if the transport answered for it, which
   * says that it reads, but nothing of the way to it.
   */
  ponged(payload: string, now: number, byPeer: boolean): number | undefined {
    if (this.#pingSentAt === 0 || payload !== String(this.#pingSentAt)) return undefined;
    const roundTrip = now - this.#pingSentAt;
    this.#pingSentAt = 0;
    // A whole number costs no memory of its own.
    if (byPeer) this.#roundTripMs = Math.max(1, Math.round(roundTrip));
    return roundTrip;
  }

  /** As `ponged`, for a pong that does not say which ping it answers. */
  pongedLast(now: number): number | undefined {
    return this.ponged(String(this.#pingSentAt), now, true);
  }

  /** True if a ping has no pong in time. A ping waits behind the buffer, so a peer that reads is alive. */
  missesPong(now: number, timeoutMs: number): boolean {
    return this.#pingSentAt !== 0 && now - Math.max(this.#pingSentAt, this.#readAt) >= timeoutMs;
  }

  /** True if it sends `ping` frames and no frame came for `timeoutMs`; 0 is no limit. */
  isSilent(now: number, timeoutMs: number): boolean {
    return this.#sendsPings && timeoutMs > 0 && now - this.#lastFrameAt >= timeoutMs;
  }
}
