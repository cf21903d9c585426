/**
 * The first commands on each new connection, in one write: user, database, scripts, and what the server is.
 *
 * Rejects, with a sentence for the operator, if Redis is unfit to serve with. It never knows when a connection is made.
 */
import type { RedisAddress } from './address.ts';
import type { RedisPipeline } from './pipeline.ts';
import type { Reply } from './resp.ts';
import { type RedisServer, readServer, whyUnfit } from './server-info.ts';

export interface Preparation {
  /** In CLIENT LIST. */
  name: string;
  /** Of scripts. */
  texts: readonly string[];
  subscribes: boolean;
  /** A server of a cluster is needed. */
  isSharded: boolean;
}

export async function prepare(
  pipeline: RedisPipeline,
  { username, password, database }: RedisAddress,
  { name, texts, subscribes, isSharded }: Preparation,
): Promise<RedisServer> {
  const run = (...words: string[]) =>
    new Promise<Reply>((resolve, reject) => {
      pipeline.send(words, (error, reply) => (error === undefined ? resolve(reply) : reject(error)));
    });
  // RESP3: a connection that is subscribed may send other commands too.
  const hello = ['HELLO', subscribes ? '3' : '2'];
  if (password !== undefined) hello.push('AUTH', username ?? 'default', password);
  const [, , info, loaded] = await Promise.all([
    run(...hello, 'SETNAME', name).catch((error: Error) => {
      throw /unknown command|NOPROTO/i.test(error.message)
        ? new Error('it does not speak RESP3; use Redis 6.2 or newer')
        : error;
    }),
    database === 0
      ? undefined
      : run('SELECT', String(database)).catch((error: Error) => {
          throw new Error(`database ${database} cannot be selected: ${error.message}`);
        }),
    run('INFO'),
    Promise.allSettled(texts.map((text) => run('SCRIPT', 'LOAD', text))),
  ]);
  const unfit = whyUnfit(String(info), isSharded);
  if (unfit !== undefined) throw new Error(unfit);
  for (const each of loaded) if (each.status === 'rejected') throw each.reason;
  return readServer(String(info));
}
