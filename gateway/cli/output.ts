/**
 * What a command prints to standard output.
 *
 * A reader may leave early (`roomcast tail … | head -1`): the command then ends without a word. `roomcast serve` must not
 * load this file into use: the log of a node has its own way to standard output (gateway/telemetry/output.ts).
 */
let isWatched = false;

export function print(text: string): void {
  if (!isWatched) {
    isWatched = true;
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit();
      process.stderr.write(`error: standard output cannot be written: ${error.message}\n`);
      process.exit(1);
    });
  }
  process.stdout.write(text);
}

export function printJson(value: unknown): void {
  print(`${JSON.stringify(value, null, 2)}\n`);
}

/** Names and texts of others, for a terminal: control characters are written as `\u001b`. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Columns as wide as their longest cell; the last one is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  const line = (row: readonly string[]) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  ');
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('');
}
