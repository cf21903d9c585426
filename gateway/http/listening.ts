/**
 * Why a port cannot be listened on: in words that name the setting, what is wrong and what to do.
 *
 * uWebSockets.js says only that it could not, so the same is tried with node:net, which says why. It knows neither server.
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

/** More addresses of this machine are not listed. */
const mostListed = 10;

/** The address that a host name stands for, the first where there are several. Rejects with an Error for the operator. */
export async function addressAt(place: Place): Promise<string> {
  if (isIP(place.host) !== 0) return place.host;
  try {
    return (await lookup(place.host)).address;
  } catch (error) {
    throw cannotListen(place, error as NodeJS.ErrnoException);
  }
}

/** Finds out why nobody could listen there a moment ago. `address` is that of the host. */
export async function whyNot(place: Place, address: string): Promise<Error> {
  const server = createServer();
  try {
    await once(server.listen({ host: address, port: place.port, exclusive: true }), 'listening');
  } catch (error) {
    return cannotListen(place, error as NodeJS.ErrnoException);
  } finally {
    server.close();
  }
  return new Error(`${failure(place)}: the port was taken until a moment ago; start again`);
}

/** `error` is what node:net or node:dns says. */
export function cannotListen(place: Place, error: NodeJS.ErrnoException): Error {
  return new Error(`${failure(place)}: ${reason(place, error)}`, { cause: error });
}

function failure({ host, port }: Place): string {
  return `cannot listen on ${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

function reason({ host, hostSetting, port, portSetting }: Place, error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `the port is taken; ${portSetting} chooses another`;
    case 'EACCES':
      return `this process may not take port ${port}; ${portSetting} chooses one from 1024 on, or CAP_NET_BIND_SERVICE allows it`;
    case 'EADDRNOTAVAIL':
      return `${hostSetting} is no address of this machine, which has ${ownAddresses()}; 0.0.0.0 or :: stands for all`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${hostSetting} is a name for which no address is found (${error.code}); 0.0.0.0 or :: stands for all addresses`;
    case 'EAFNOSUPPORT':
      return `this machine has no ${isIP(host) === 6 ? 'IPv6' : 'IPv4'}; ${hostSetting} chooses another address`;
    default:
      return `${error.message}; ${hostSetting} and ${portSetting} choose another address and port`;
  }
}

function ownAddresses(): string {
  const all = Object.values(networkInterfaces()).flatMap((each = []) => each.map(({ address }) => address));
  // A link-local address is of no use without its zone.
  const addresses = all.filter((address) => !address.startsWith('fe80:'));
  const listed = addresses.slice(0, mostListed).join(', ');
  return addresses.length > mostListed ? `${listed} and ${addresses.length - mostListed} more` : listed;
}
