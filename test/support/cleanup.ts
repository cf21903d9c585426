/**
 * Clean-up that also happens when a test fails: what a test started ends with the test, what a hook or the file itself
 * started ends with the file.
 *
 * Owns the list of what to end, newest first. Only for code that runs inside a test file, never for a global setup.
 */
import { afterAll, onTestFinished, TestRunner } from 'vitest';

type CleanUp = () => unknown;

const ofTheFile: CleanUp[] = [];

afterAll(async () => {
  for (const cleanUp of ofTheFile.splice(0).reverse()) await cleanUp();
});

/** Runs `cleanUp` once, after the running test, or after the file when no test is running. */
export function onCleanup(cleanUp: CleanUp): void {
  if (TestRunner.getCurrentTest()) onTestFinished(async () => void (await cleanUp()));
  else ofTheFile.push(cleanUp);
}
