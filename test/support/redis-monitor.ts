/**
 * MONITOR over bare TCP: every command that a Redis executes, those of scripts included.
 *
 * ioredis has it too, but fails if a command of another client is told together with the answer to MONITOR.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { onCleanup } from './cleanup.ts';

/** Resolves when every later command is passed to `take`, as its words. `\x…` in them stays as Redis writes it. */
export async function monitorRedis(url: string, take: (words: string[]) => void): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  onCleanup(() => void socket.destroy());
  // Redis may end first.
  socket.on('error', () => undefined);
  const lines = createInterface(socket);
  socket.write('MONITOR\r\n');
  const [answer] = await once(lines, 'line');
  if (answer !== '+OK') throw new Error(`MONITOR was answered by ${answer}`);
  lines.on('line', (line) => take([...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word = '']) => unescaped(word))));
}

function unescaped(word: string): string {
  return word.replaceAll(/\\(["\\])/g, '$1');
}
