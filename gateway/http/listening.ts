/**
 * Why a port cannot be opened: an error that names the setting, says what is wrong and what to do.
 *
 * uWebSockets.js only reports that it failed. The same attempt with node:net says why. It knows neither server.
 */
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';

export interface Place {
  host: string;
  port: number;
  hostSetting: string;
  portSetting: string;
}

/** Addresses of this machine listed in one error. */
const mostListed = 10;

/** The first address that the host name resolves to. Rejects with an Error for the operator. */
export async function addressAt(place: Place): Promise<string> {
  if (isIP(place.host) !== 0) return place.host;
  try {
    return (await lookup(place.host)).address;
  } catch (error) {
    throw cannotListen(place, error as NodeJS.ErrnoException);
  }
}

/** Finds out why listening failed a moment ago. `address`: what `place.host` resolves to. */
export async function whyNot(place: Place, address: string): Promise<Error> {
  const server = createServer();
  try {
    await once(server.listen({ host: address, port: place.port, exclusive: true }), 'listening');
  } catch (error) {
    return cannotListen(place, error as NodeJS.ErrnoException);
  } finally {
    server.close();
  }
  return new Error(`${failure(place)}: the port was in use until a moment ago; start again`);
}

/** Turns an error of node:net or node:dns into one for the operator. */
export function cannotListen(place: Place, error: NodeJS.ErrnoException): Error {
  return new Error(`${failure(place)}: ${reason(place, error)}`, { cause: error });
}

function failure({ host, port }: Place): string {
  return `cannot listen on ${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

function reason({ host, hostSetting, port, portSetting }: Place, error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `the port is in use; choose another with ${portSetting}`;
    case 'EACCES':
      return `this process may not open port ${port}; choose one from 1024 on with ${portSetting}, or grant CAP_NET_BIND_SERVICE`;
    case 'EADDRNOTAVAIL':
      return `${hostSetting} is not an address of this machine, which has ${ownAddresses()}; 0.0.0.0 or :: stands for all`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${hostSetting} is a name without an address (${error.code}); 0.0.0.0 or :: stands for all addresses`;
    case 'EAFNOSUPPORT':
      return `this machine has no ${isIP(host) === 6 ? 'IPv6' : 'IPv4'}; choose another address with ${hostSetting}`;
    default:
      return `${error.message}; choose another address or port with ${hostSetting} and ${portSetting}`;
  }
}

function ownAddresses(): string {
  const all = Object.values(networkInterfaces()).flatMap((each = []) => each.map(({ address }) => address));
  // A link-local address does not work without its zone.
  const addresses = all.filter((address) => !address.startsWith('fe80:'));
  const listed = addresses.slice(0, mostListed).join(', ');
  return addresses.length > mostListed ? `${listed} and ${addresses.length - mostListed} more` : listed;
}
