/**
 * Compression of WebSocket messages by permessage-deflate (RFC 7692), as GATEWAY_COMPRESSION says.
 *
 * Owns whether a client's offer is taken and which frames are compressed. The library keeps one compressor and one
 * decompressor for all connections of the node and begins each message anew (no context takeover): a connection costs no
 * memory, and no message is compressed with what another one held. It compresses a message once for each receiver. This file
 * knows no sockets, and does not look into frames: whether one may be compressed at all, its sender says.
 */
import { isDeflateOffered } from './offer.ts';

export type CompressionMode = 'off' | 'shared';

/** For a smaller frame the time costs more than the bytes save. */
const leastBytes = 512;
/**
 * Of one frame, times its receivers: some 12 ms at most (docs/performance.md) in which the node does nothing else. A frame to
 * more receivers goes out as it is.
 */
const mostBytesOfAll = 2 ** 20;

export class Compression {
  readonly on: boolean;
  readonly #leastBytes: number;

  constructor(mode: CompressionMode) {
    this.on = mode === 'shared';
    this.#leastBytes = this.on ? leastBytes : Number.POSITIVE_INFINITY;
  }

  /** What the library is told of the client's Sec-WebSocket-Extensions: '' for a connection without compression. */
  extensions(headers: ReadonlyMap<string, string[]>): '' | 'permessage-deflate' {
    return this.on && isDeflateOffered(headers) ? 'permessage-deflate' : '';
  }

  isLargeEnough(frameBytes: number): boolean {
    return frameBytes >= this.#leastBytes;
  }

  isAffordable(frameBytes: number, receivers: number): boolean {
    return frameBytes * receivers <= mostBytesOfAll;
  }
}
