/** Where the SDKs of Centrifugo connect, and in which form of the protocol. Pure functions. */
import { centrifugo } from '../../protocol/centrifugo/dialect.ts';
import { centrifugoProtobuf } from '../../protocol/centrifugo/protobuf/dialect.ts';
import type { Dialect } from '../../protocol/dialect.ts';
import type { HandshakeRequest } from '../handshake.ts';

/** The paths by default. Both responses that do not end take their commands at the last one. */
export const webSocketPath = '/connection/websocket';
export const streamPath = '/connection/http_stream';
export const eventsPath = '/connection/sse';
export const emulationPath = '/emulation';

/**
 * Those that a client may choose by its subprotocol. The first one is for a client that names none: JSON, unless its URL says
 * otherwise.
 */
export function webSocketDialects({ query }: Pick<HandshakeRequest, 'query'>): readonly Dialect[] {
  const parameters = new URLSearchParams(query);
  const isProtobuf = [parameters.get('cf_protocol'), parameters.get('format')].includes('protobuf');
  return isProtobuf ? [centrifugoProtobuf, centrifugo] : [centrifugo, centrifugoProtobuf];
}
