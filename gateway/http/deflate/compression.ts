/**
 * Compression of WebSocket messages by permessage-deflate (RFC 7692), as GATEWAY_COMPRESSION says.
 *
 * Owns whether a client's offer is taken and which frames are compressed. The library keeps one compressor and one
 * decompressor for all connections of the node and begins each message anew (no context takeover): a connection costs no
 * memory, and no message is compressed with what another one held. It compresses a message once for each receiver. This file
 * knows no sockets, and does not look into frames: whether one may be compressed at all, its sender says.
 */
import { TokenBucket } from '../../connection/limits.ts';
import { isDeflateOffered } from './offer.ts';

export interface CompressionSettings {
  compression: 'off' | 'shared';
  maxMessageBytes: number;
  publishRate: number;
  publishBurst: number;
}

/** For a smaller frame the time costs more than the bytes save. */
const leastBytes = 512;
/**
 * Of one frame, times its receivers: some 15 ms at most (docs/performance.md) in which the node does nothing else. A frame to
 * more receivers goes out as it is.
 */
const mostBytesOfAll = 2 ** 20;
/**
 * Messages of the largest size that one client may send in a second, and at once, when its publishes may be fewer. 200 bytes
 * can inflate to 128 KiB, which takes 0.4 ms: so without a bound on the inflated bytes one client with 400 KB/s would keep the
 * node busy, and one read of its socket for a second.
 */
const leastMessageRate = 64;
const leastMessageBurst = 128;

export class Compression {
  readonly on: boolean;
  readonly #leastBytes: number;
  readonly #settings: CompressionSettings;

  constructor(settings: CompressionSettings) {
    this.#settings = settings;
    this.on = settings.compression === 'shared';
    this.#leastBytes = this.on ? leastBytes : Number.POSITIVE_INFINITY;
  }

  /** What the library is told of the client's Sec-WebSocket-Extensions: '' for a connection without compression. */
  extensions(headers: ReadonlyMap<string, string[]>): '' | 'permessage-deflate' {
    return this.on && isDeflateOffered(headers) ? 'permessage-deflate' : '';
  }

  /**
   * Of a client with compression: the bytes of its messages, once inflated. Those that came as they are count too, because the
   * library does not tell them apart.
   */
  inflationBudget(now: number): TokenBucket {
    const { maxMessageBytes, publishRate, publishBurst } = this.#settings;
    const perSecond = maxMessageBytes * Math.max(publishRate, leastMessageRate);
    return new TokenBucket(perSecond, maxMessageBytes * Math.max(publishBurst, leastMessageBurst), now);
  }

  isLargeEnough(frameBytes: number): boolean {
    return frameBytes >= this.#leastBytes;
  }

  isAffordable(frameBytes: number, receivers: number): boolean {
    return frameBytes * receivers <= mostBytesOfAll;
  }
}
