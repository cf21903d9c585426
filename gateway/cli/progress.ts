/**
 * The progress of a command: a bar in one line on a terminal, one line elsewhere. It goes to standard error, so that the
 * result alone is on standard output.
 */
export interface Progress {
  end(): void;
}

const barWidth = 30;
const intervalMs = 200;

/** `seconds`: how long it takes; undefined where nobody knows. */
export function showProgress(what: string, seconds?: number): Progress {
  const { stderr } = process;
  if (!stderr.isTTY) {
    stderr.write(`${what}\n`);
    return { end: () => undefined };
  }
  const began = performance.now();
  const draw = () => {
    const passed = (performance.now() - began) / 1000;
    const share = seconds === undefined ? 0 : Math.min(1, passed / seconds);
    const bar = '#'.repeat(Math.round(share * barWidth)).padEnd(barWidth, '.');
    const time = `${Math.floor(passed)}${seconds === undefined ? '' : `/${seconds}`} s`;
    // Back to the start of the line, and clear what is right of the text (ECMA-48).
    stderr.write(`\r${seconds === undefined ? '' : `[${bar}] `}${time} ${what}\u001b[K`);
  };
  draw();
  const timer = setInterval(draw, intervalMs);
  return {
    end: () => {
      clearInterval(timer);
      stderr.write('\r\u001b[K');
    },
  };
}
