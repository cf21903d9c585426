/**
 * The backend: it has a question answered, and publishes each token to a room of its own, whether anybody listens or not.
 */
import { randomUUID } from 'node:crypto';
import { publish } from '../publish.js';
import { serve } from '../site.js';
import { answerTo } from './model.js';

const question = 'How does this survive a reload?';

async function stream(room) {
  let number = 0;
  for await (const token of answerTo(question)) await publish(room, { token }, `token-${++number}`);
  await publish(room, { done: true }, 'done');
}

/** Answers with the room, and with the position behind which the tokens come: they are still to be made. */
async function ask(user) {
  const room = `answers:${user}:${randomUUID()}`;
  const { epoch, offset } = await publish(room, { question }, 'question');
  stream(room).catch((error) => process.stderr.write(`${room}: ${error.message}\n`));
  return { room, position: { epoch, offset } };
}

const page = new URL('index.html', import.meta.url);
// A user reads the answers to the own questions, and no others.
serve(page, (user) => ({ [`answers:${user}:*`]: ['subscribe'] }), { 'POST /answers': ask });
