/** A user with Centrifugo's SDK for JavaScript, by each transport and in each form. Without WebSockets its commands go to another node. */
import { Centrifuge } from 'centrifuge';
import { Centrifuge as BinaryCentrifuge } from 'centrifuge/build/protobuf';
import { WebSocket } from 'ws';

const deadlineMs = 15_000;

interface Place {
  url: string;
}

function clientOf(at: Place, commandsTo: Place, token: string): Centrifuge | BinaryCentrifuge {
  const Client = Math.random() < 0.5 ? Centrifuge : BinaryCentrifuge;
  const http = ({ url }: Place) => url.replace('ws', 'http').replace('/ws', '');
  if (Math.random() < 0.5) {
    return new Client(at.url.replace('/ws', '/connection/websocket'), { websocket: WebSocket, token });
  }
  return new Client([{ transport: 'http_stream', endpoint: `${http(at)}/connection/http_stream` }], {
    emulationEndpoint: `${http(commandsTo)}/emulation`,
    fetch: globalThis.fetch,
    readableStream: globalThis.ReadableStream,
    token,
  });
}

/** Comes, talks in `rooms`, goes, and recovers. The last room has history. */
export async function visit(at: Place, commandsTo: Place, token: string, rooms: readonly string[]): Promise<void> {
  const client = clientOf(at, commandsTo, token);
  const data = Buffer.from('"hello"');
  try {
    const subscriptions = rooms.map((room) => client.newSubscription(room));
    for (const subscription of subscriptions) subscription.subscribe();
    for (let time = 0; time < 2; time++) {
      client.connect();
      for (const subscription of subscriptions) {
        await subscription.ready(deadlineMs);
        await subscription.publish(client instanceof BinaryCentrifuge ? data : 'hello');
        await subscription.presence();
      }
      await subscriptions.at(-1)?.history({ limit: 5 });
      client.disconnect();
    }
  } finally {
    client.disconnect();
  }
}
