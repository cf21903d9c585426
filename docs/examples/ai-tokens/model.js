/**
 * No model: a script that emits words, one by one, as a model emits tokens. Put the stream of yours in its place.
 */
import { setTimeout as delay } from 'node:timers/promises';

const text = `A page that follows an answer token by token is a reader of a log. Each token has an offset, one higher than the
last. The page keeps the text that it has shown, and the offset of the last token in it. When the page is loaded again, it
asks for everything behind that offset. The log still has it, so the answer goes on where it stopped, and no token is missing or
doubled, however often the page is loaded again.`;
const tokenMs = 60;

export async function* answerTo(question) {
  for (const token of `You asked: ${question} ${text}`.match(/\S+\s*/g)) {
    await delay(tokenMs);
    yield token.replace(/\s+$/, ' ');
  }
}
