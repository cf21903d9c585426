/**
 * Many clients for the tests of overload: the load client of the build, in threads of its own. They come as fast as the machine can
 * send them, try again at the time that a refusal names, and take any other refusal, a lost message or a wrong order for a fault.
 */
import { onCleanup } from '../support/cleanup.ts';
import { testSecret } from '../support/token.ts';

type Client = typeof import('../../gateway/cli/load/client.ts');
export type Crowd = InstanceType<Client['LoadClient']>;
// The threads of the client are scripts of the build.
const { LoadClient } = (await import(new URL('../../dist/gateway/cli/load/client.js', import.meta.url).href)) as Client;

export interface CrowdOptions {
  port: number;
  /** Of its users and rooms. */
  name: string;
  connections: number;
  rooms: number;
  since?: { position: { epoch: string; offset: number }; number: number }[];
}

export function crowd({ port, name, connections, rooms, since }: CrowdOptions): Crowd {
  const place = {
    ...({ dialect: 'gateway', path: '/ws', host: '127.0.0.1', secure: false } as const),
    ...{ userPrefix: name, roomPrefix: `${name}:`, credentials: { secret: testSecret, claims: {} } },
  };
  const client = new LoadClient({
    audience: { place, ports: [port], connections, rooms, roomsPerConnection: 1, ...(since && { since }) },
    ...{ publisherPort: port, publishers: 1, payloadBytes: 100, threads: 1 },
  });
  onCleanup(() => client.close());
  return client;
}
