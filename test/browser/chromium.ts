/**
 * A real browser for tests: Debian's Chromium, driven by playwright-core.
 *
 * Owns the browser process and where it is found (CHROMIUM_PATH, else the usual paths). Knows nothing of the gateway.
 */
import { existsSync } from 'node:fs';
import { type Browser, chromium, type LaunchOptions } from 'playwright-core';
import { onCleanup } from '../support/cleanup.ts';

const usualPaths = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

export async function launchBrowser({ args = [], ...more }: LaunchOptions = {}): Promise<Browser> {
  const executablePath = [process.env.CHROMIUM_PATH ?? '', ...usualPaths].find(existsSync);
  if (executablePath === undefined) {
    throw new Error('No Chromium: install it (apt-get install chromium), or set CHROMIUM_PATH to its program.');
  }
  const browser = await chromium.launch({
    executablePath,
    // As root there is no sandbox; without the rest it looks up hosts on the network at every start.
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-background-networking',
      '--disable-sync',
      ...args,
    ],
    ...more,
  });
  onCleanup(() => browser.close());
  return browser;
}
