/**
 * An administrator of Redis: sends commands on a separate connection, as a user with all rights.
 */
import { Redis } from 'ioredis';
import type { OwnRedis } from '../support/redis-process.ts';

export type Tell = (command: string, ...words: (string | number)[]) => Promise<unknown>;

/** Connects, does the work, and leaves. */
export async function administer<Result>(redis: OwnRedis, work: (tell: Tell) => Promise<Result>): Promise<Result> {
  const connection = new Redis(redis.url, { maxRetriesPerRequest: 1 });
  // The error also fails the command that waits for the connection.
  connection.on('error', () => undefined);
  try {
    return await work((command, ...words) => connection.call(command, ...words));
  } finally {
    connection.disconnect();
  }
}
