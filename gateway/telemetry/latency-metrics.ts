/**
 * How long things take on a node, as histograms: a ping, the way of a message to the sockets, the backplane, a question to
 * all nodes, and a turn of the event loop. It owns the timer that watches the loop. It knows no metrics library.
 */
import type { Events } from './events.ts';
import { Histogram } from './histogram.ts';

const loopSampleMs = 100;

export class LatencyMetrics implements Partial<Events> {
  readonly ping = new Histogram(
    'gateway_ping_rtt_seconds',
    'Round trip of WebSocket pings.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
  );
  readonly fanout = new Histogram(
    'gateway_fanout_seconds',
    'From accepted by the publishing node to handed to the sockets.',
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
  );
  readonly backplane = new Histogram(
    'gateway_backplane_rtt_seconds',
    'Round trip of the canary through the backplane.',
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
  );
  readonly #control = new Histogram(
    'gateway_control_seconds',
    'From a question to all nodes to the last answer, or to the deadline.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.9, 2.5],
  );
  readonly loop = new Histogram(
    'gateway_event_loop_lag_seconds',
    `Lateness of a timer of ${loopSampleMs} ms.`,
    [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1],
  );
  readonly all: readonly Histogram[] = [this.ping, this.fanout, this.backplane, this.#control, this.loop];
  readonly #timer: NodeJS.Timeout;

  constructor() {
    let due = performance.now() + loopSampleMs;
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.loop.observe(Math.max(0, now - due) / 1000);
      due = now + loopSampleMs;
    }, loopSampleMs).unref();
  }

  pingRoundTrip(rtt: number): void {
    this.ping.observe(rtt);
  }

  backplaneRoundTrip(rtt: number): void {
    this.backplane.observe(rtt);
  }

  controlAsked(took: number): void {
    this.#control.observe(took);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
