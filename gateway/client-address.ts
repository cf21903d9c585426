/**
 * The address of the real client. X-Forwarded-For and the PROXY v2 header are believed only when a trusted proxy sent
 * them: anybody else can write what he likes there.
 */
import { type BlockList, isIP } from 'node:net';

export interface Peer {
  /** Of the TCP connection. */
  address: string;
  /** What a PROXY v2 header said, or ''. */
  proxied: string;
  /** The X-Forwarded-For lines, in order. */
  forwardedFor: string[];
}

export function clientAddress({ address, proxied, forwardedFor }: Peer, trusted: BlockList): string {
  let client = plain(address);
  if (trusted.rules.length === 0 || !isTrusted(client, trusted)) return client;
  if (isIP(proxied) !== 0) return plain(proxied);
  // Every proxy appends the peer it saw: the last one that is not a proxy of ours is the client.
  const hops = forwardedFor.join(',').split(',');
  for (let hop = hops.pop()?.trim(); hop !== undefined && isIP(hop) !== 0; hop = hops.pop()?.trim()) {
    client = plain(hop);
    if (!isTrusted(client, trusted)) break;
  }
  return client;
}

function isTrusted(address: string, trusted: BlockList): boolean {
  const family = isIP(address);
  return family !== 0 && trusted.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** An IPv4 address that came over an IPv6 socket is that IPv4 address; all forms of IPv6 text are made one, no zone. */
function plain(text: string): string {
  const [address = ''] = text.split('%');
  const mapped = /^(?:::|(?:0{1,4}:){5})ffff:(?:([0-9a-f]{1,4}):([0-9a-f]{1,4})|(\d+\.\d+\.\d+\.\d+))$/i.exec(address);
  if (mapped === null) return isIP(address) === 6 ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
  if (mapped[3] !== undefined) return mapped[3];
  const [high, low] = [Number.parseInt(mapped[1] ?? '', 16), Number.parseInt(mapped[2] ?? '', 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}
