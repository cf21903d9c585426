/**
 * The progress of a long run: a bar on a terminal, a line per step elsewhere. The only file that imports cli-progress.
 */
import { Presets, SingleBar } from 'cli-progress';

export interface Progress {
  step(what: string): void;
  end(): void;
}

export function showProgress(steps: number): Progress {
  const { stderr } = process;
  if (!stderr.isTTY) {
    let done = 0;
    const step = (what: string) => void stderr.write(`${++done}/${steps} ${what}\n`);
    return { step, end: () => undefined };
  }
  const format = '{bar} {value}/{total}, {eta_formatted} left: {what}';
  const bar = new SingleBar({ format, hideCursor: true, clearOnComplete: true }, Presets.shades_classic);
  let done = 0;
  bar.start(steps, 0, { what: '' });
  return { step: (what) => bar.update(done++, { what }), end: () => bar.stop() };
}
