/**
 * Clean-up that also happens when a test fails: at the end of the test that asked for it, or at the end of the file for a
 * hook or the file itself.
 *
 * Owns the list of clean-ups, newest first. Only for code that runs inside a test file, never for a global setup.
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
