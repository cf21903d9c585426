/**
 * The backend: a job that takes a while, and tells its room how far it is.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { publish } from '../publish.js';
import { serve } from '../site.js';

const steps = 20;
const stepMs = 300;

async function work(room) {
  for (let step = 0; step <= steps; step++) {
    await publish(room, { percent: (100 * step) / steps }, `step-${step}`);
    await delay(stepMs);
  }
}

/** What the page shows of a job is in its room, so nothing is kept here. */
function startJob() {
  const job = randomUUID();
  work(`jobs:${job}`).catch((error) => process.stderr.write(`${job} failed: ${error.message}\n`));
  return { job };
}

serve(new URL('index.html', import.meta.url), () => ({ 'jobs:*': ['subscribe'] }), { 'POST /jobs': startJob });
