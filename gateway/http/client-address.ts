/**
 * The address of the real client. X-Forwarded-For and the PROXY v2 header are believed only when a trusted proxy sent
 * them: anybody else can write what he likes there.
 */
import { BlockList, isIP, isIPv6, SocketAddress } from 'node:net';

export interface Peer {
  /** Of the TCP connection. */
  address: string;
  /** What a PROXY v2 header said, or ''. */
  proxied: string;
  /** The X-Forwarded-For lines, in order. */
  forwardedFor: string[];
}

export function clientAddress({ address, proxied, forwardedFor }: Peer, trusted: BlockList): string {
  let client = readAddress(address) ?? address;
  if (trusted.rules.length === 0 || !isTrusted(client, trusted)) return client;
  const proxiedFor = readAddress(proxied);
  if (proxiedFor !== undefined) return proxiedFor;
  // Every proxy appends the peer it saw: the last one that is not a proxy of ours is the client.
  for (const entry of forwardedFor.join(',').split(',').reverse()) {
    const hop = entry.trim();
    // An empty element of a list says nothing (RFC 9110 section 5.6.1).
    if (hop === '') continue;
    const named = readAddress(hostOf(hop));
    if (named === undefined) break;
    client = named;
    if (!isTrusted(client, trusted)) break;
  }
  return client;
}

/**
 * What counts as one client where connections are limited: an IPv4 address, or the /64 of an IPv6 address. A host is
 * given a whole /64 (RFC 4291 section 2.5.1) and could take another address of it for each connection.
 */
export function addressBlock(address: string): string {
  if (!isIPv6(address)) return address;
  const [before = [], after = []] = address.split('::').map((part) => part.split(':').filter(Boolean));
  const between = Array<string>(8 - before.length - after.length).fill('0');
  return [...before, ...between, ...after].slice(0, 4).join(':');
}

function isTrusted(address: string, trusted: BlockList): boolean {
  const family = isIP(address);
  return family !== 0 && trusted.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** Some proxies write the port too: `192.0.2.1:8080`, `[2001:db8::1]:8080`. Without brackets a colon is part of IPv6. */
function hostOf(hop: string): string {
  const [, bracketed, dotted] = /^(?:\[(.+)\]|([\d.]+))(?::\d+)?$/.exec(hop) ?? [];
  return bracketed ?? dotted ?? hop;
}

/** RFC 4291 section 2.5.5.2. The last 32 bits are written with dots. */
const mappedIPv4 = new BlockList();
mappedIPv4.addSubnet('::ffff:0:0', 96, 'ipv6');

/** One text for each address: no zone, one form of IPv6, and IPv4 that came over an IPv6 socket is IPv4. */
function readAddress(text: string): string | undefined {
  const family = isIP(text);
  if (family !== 6) return family === 4 ? text : undefined;
  const parsed = new SocketAddress({ address: text, family: 'ipv6' });
  const { address } = parsed;
  return mappedIPv4.check(parsed) ? address.slice(address.lastIndexOf(':') + 1) : address;
}

/** Connections by client address; all of an IPv6 /64 together. */
export class AddressCount {
  readonly #most: number;
  readonly #counts = new Map<string, number>();

  /** `most` 0 is no limit, and then nothing is counted. */
  constructor(most: number) {
    this.#most = most;
  }

  /** False if this address has as many as it may; otherwise it is counted until `remove`. */
  add(address: string): boolean {
    if (this.#most === 0) return true;
    const block = addressBlock(address);
    const count = this.#counts.get(block) ?? 0;
    if (count >= this.#most) return false;
    this.#counts.set(block, count + 1);
    return true;
  }

  remove(address: string): void {
    if (this.#most === 0) return;
    const block = addressBlock(address);
    const count = this.#counts.get(block);
    if (count === undefined) return;
    if (count === 1) this.#counts.delete(block);
    else this.#counts.set(block, count - 1);
  }
}
