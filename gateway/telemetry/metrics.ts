/**
 * The numbers of a node, in the Prometheus text format. The only file that imports prom-client.
 *
 * It listens to events (gateway/telemetry/events.ts). Counting on the way of a message is adding to a plain integer; the
 * scrape reads it. No label ever holds a room, a user or anything else that a client can choose. Names are fixed in
 * docs/operations.md.
 */
import { statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { Counter, collectDefaultMetrics, Gauge, Histogram as LabelledHistogram, Registry } from 'prom-client';
import { closeCode } from '../../shared/codes.ts';
import type { GapFrame } from '../../shared/protocol.ts';
import { BackendMetrics } from './backend-metrics.ts';
import {
  type DropReason,
  dropReasons,
  type Events,
  type HandshakeRejection,
  handshakeRejections,
  publishOutcomes,
  publishSources,
  type ReloadSubject,
  reloadSubjects,
} from './events.ts';
import { type Gauges, plainGauges } from './gauges.ts';
import { LatencyMetrics } from './latency-metrics.ts';
import { countsOf, type Numbers } from './numbers.ts';
import { standardOutput } from './output.ts';
import { PublishMetrics } from './publish-metrics.ts';
import { redisText } from './redis-metrics.ts';

const gapReasons: GapFrame['reason'][] = ['backplane', 'slow', 'trimmed', 'epoch'];

/** Our own codes and those of RFC 6455 section 7.4.1; any other is `other`. */
const standardCodes = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011];
const knownCodes = new Set<number>([...Object.values(closeCode), ...standardCodes]);

export class Metrics implements Partial<Events> {
  readonly backend: BackendMetrics;
  readonly publishes = new PublishMetrics();
  readonly latencies = new LatencyMetrics();
  readonly #registry = new Registry();
  readonly #gauges: Gauges;
  readonly #histograms: { text(): string }[] = [...this.latencies.all, this.publishes.seconds];
  readonly #closed: Counter<'code'>;
  readonly #rejected: Counter<'reason'>;
  readonly #dropped: Counter<'reason'>;
  readonly #gaps: Counter<'reason' | 'healed'>;
  readonly #resumes: Counter<'result'>;
  readonly #reloads: Counter<'what' | 'result'>;
  #opened = 0;
  #delivered = 0;
  #heartbeatTimeouts = 0;
  #freezes = 0;
  #backplaneReconnects = 0;
  #membersReaped = 0;

  constructor(info: { version: string; node: string }, gauges: Gauges) {
    const registers = [this.#registry];
    this.#gauges = gauges;
    collectDefaultMetrics({ register: this.#registry });
    if (process.platform === 'linux') this.#openDescriptors();
    new Gauge({ name: 'gateway_info', help: 'Always 1.', labelNames: ['version', 'node'], registers }).set(info, 1);
    for (const [name, help, read] of plainGauges(gauges)) this.#gauge(name, help, read);
    this.#slowGauge(gauges);
    this.#counter('gateway_log_lines_dropped_total', 'Dropped lines of the log.', () => standardOutput.dropped);
    this.#counter('gateway_connections_opened_total', 'Connections opened.', () => this.#opened);
    this.#counter('gateway_messages_delivered_total', 'Messages handed to sockets.', () => this.#delivered);
    this.#counter('gateway_heartbeat_timeouts_total', 'Connections closed with 4004.', () => this.#heartbeatTimeouts);
    this.#counter('gateway_freezes_total', 'Times the process was frozen.', () => this.#freezes);
    const reconnects = 'Lost connections to the backplane that were made again.';
    this.#counter('gateway_backplane_reconnects_total', reconnects, () => this.#backplaneReconnects);
    const reaped = 'Members of dead nodes that this node removed.';
    this.#counter('gateway_members_reaped_total', reaped, () => this.#membersReaped);
    const busy = 'Time that the event loop did not wait for input.';
    // A node does its work in one thread: a rate of 1 is all that it can do.
    this.#counter(
      'gateway_event_loop_busy_seconds_total',
      busy,
      () => performance.eventLoopUtilization().active / 1000,
    );
    this.#publishCounters();
    const labelled = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
      new Counter({ name, help, labelNames, registers });
    this.#closed = labelled('gateway_connections_closed_total', 'Connections closed, by close code.', 'code');
    this.#rejected = labelled('gateway_handshakes_rejected_total', 'Handshakes refused, by reason.', 'reason');
    this.#dropped = labelled('gateway_messages_dropped_total', 'Messages not delivered; a gap said so.', 'reason');
    this.#gaps = labelled('gateway_gaps_total', 'Gaps sent to members, or healed from history.', 'reason', 'healed');
    this.#resumes = labelled('gateway_resumes_total', 'Answers to subscribe with since, with history.', 'result');
    this.#reloads = labelled('gateway_reloads_total', 'Files read again while the node runs.', 'what', 'result');
    this.backend = new BackendMetrics({
      counter: labelled,
      counted: (name, help, labelNames, read) => {
        new Counter({
          name,
          help,
          labelNames,
          registers,
          collect() {
            this.reset();
            for (const [labels, times] of read()) this.inc(labels, times);
          },
        });
      },
      measured: (name, help, labelNames, read) => {
        new Gauge({
          name,
          help,
          labelNames,
          registers,
          collect() {
            for (const [labels, value] of read()) this.set(labels, value);
          },
        });
      },
      histogram: (name, help, buckets, ...labelNames) =>
        new LabelledHistogram({ name, help, buckets, labelNames, registers }),
    });
    this.#histograms.push(this.backend.requestSeconds);
    // A series that appears with its first event has no rate of that event: all begin at 0.
    for (const code of [...knownCodes, 'other']) this.#closed.inc({ code: String(code) }, 0);
    for (const reason of handshakeRejections) this.#rejected.inc({ reason }, 0);
    for (const reason of dropReasons) this.#dropped.inc({ reason }, 0);
    for (const reason of gapReasons) this.#gaps.inc({ reason, healed: 'false' }, 0);
    this.#gaps.inc({ reason: 'backplane', healed: 'true' }, 0);
    for (const result of ['recovered', 'refused']) this.#resumes.inc({ result }, 0);
    for (const what of reloadSubjects)
      for (const result of ['taken', 'refused']) this.#reloads.inc({ what, result }, 0);
  }

  readonly contentType = this.#registry.contentType;

  async text(): Promise<string> {
    const histograms = this.#histograms.map((histogram) => histogram.text());
    return [await this.#registry.metrics(), ...histograms, redisText(this.#gauges.redis?.())].join('\n');
  }

  /** What the dashboard shows. Everything is counted already, so nothing counts for it. */
  async numbers(): Promise<Numbers> {
    const [closed, rejected, dropped, gaps] = await Promise.all([
      countsOf(this.#closed, 'code'),
      countsOf(this.#rejected, 'reason'),
      countsOf(this.#dropped, 'reason'),
      countsOf(this.#gaps, 'reason'),
    ]);
    return {
      totals: { published: this.publishedMessages, delivered: this.#delivered, opened: this.#opened },
      reasons: { closed, rejected, publishErrors: this.publishes.errors, dropped, gaps },
      histograms: {
        ping: this.latencies.ping.buckets,
        fanout: this.latencies.fanout.buckets,
        backplane: this.latencies.backplane.buckets,
        loop: this.latencies.loop.buckets,
      },
    };
  }

  /** Messages that the backplane took from this node so far. */
  get publishedMessages(): number {
    return publishSources.reduce((sum, source) => sum + this.publishes.count(source, 'ok'), 0);
  }

  /** Messages handed to sockets so far. */
  get deliveredMessages(): number {
    return this.#delivered;
  }

  connectionOpened(): void {
    this.#opened++;
  }

  connectionClosed(code: number): void {
    this.#closed.inc({ code: knownCodes.has(code) ? String(code) : 'other' });
  }

  handshakeRejected(reason: HandshakeRejection): void {
    this.#rejected.inc({ reason });
  }

  delivered(members: number, at: number | undefined): void {
    this.#delivered += members;
    if (at !== undefined) this.latencies.fanout.observe(Math.max(0, Date.now() - at) / 1000);
  }

  fed(): void {
    this.#delivered++;
  }

  dropped(reason: DropReason, messages: number): void {
    this.#dropped.inc({ reason }, messages);
  }

  gapTold(reason: GapFrame['reason']): void {
    this.#gaps.inc({ reason, healed: 'false' });
  }

  gapHealed(): void {
    this.#gaps.inc({ reason: 'backplane', healed: 'true' });
  }

  resumed(result: 'recovered' | 'refused'): void {
    this.#resumes.inc({ result });
  }

  reloaded(what: ReloadSubject, result: 'taken' | 'refused'): void {
    this.#reloads.inc({ what, result });
  }

  heartbeatTimedOut(): void {
    this.#heartbeatTimeouts++;
  }

  froze(): void {
    this.#freezes++;
  }

  backplaneReconnected(): void {
    this.#backplaneReconnects++;
  }

  membersReaped(members: number): void {
    this.#membersReaped += members;
  }

  close(): void {
    this.latencies.close();
    this.#registry.clear();
  }

  /** The library's own lists the descriptors on the event loop: 20 ms and more with 19,000 connections. */
  #openDescriptors(): void {
    const name = 'process_open_fds';
    this.#registry.removeSingleMetric(name);
    new Gauge({
      name,
      help: 'Number of open file descriptors.',
      registers: [this.#registry],
      async collect() {
        // Kernels before 6.2 do not say how many there are without listing them, which takes one more.
        this.set(statSync('/proc/self/fd').size || (await readdir('/proc/self/fd')).length - 1);
      },
    });
  }

  #gauge(name: string, help: string, read: () => number): void {
    const registers = [this.#registry];
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  }

  #slowGauge(gauges: Gauges): void {
    new Gauge({
      name: 'gateway_slow_connections',
      help: 'Connections that read too slowly, by the rule of the room.',
      labelNames: ['policy'],
      registers: [this.#registry],
      collect() {
        for (const [policy, connections] of Object.entries(gauges.slow())) this.set({ policy }, connections);
      },
    });
  }

  #counter(name: string, help: string, read: () => number): void {
    new Counter({
      name,
      help,
      registers: [this.#registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  }

  #publishCounters(): void {
    const { publishes } = this;
    const registers = [this.#registry];
    new Counter({
      name: 'gateway_messages_published_total',
      help: 'Messages that the backplane took from this node.',
      labelNames: ['source'],
      registers,
      collect() {
        this.reset();
        for (const source of publishSources) this.inc({ source }, publishes.count(source, 'ok'));
      },
    });
    new Counter({
      name: 'gateway_publishes_total',
      help: 'Publishes, by what became of them.',
      labelNames: ['source', 'outcome'],
      registers,
      collect() {
        this.reset();
        for (const source of publishSources) {
          for (const outcome of publishOutcomes) this.inc({ source, outcome }, publishes.count(source, outcome));
        }
      },
    });
  }
}
