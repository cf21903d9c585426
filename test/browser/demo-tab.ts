/**
 * A tab of a browser with the demo page in it, as a person uses it.
 *
 * Owns what the page must never do: an error, a word on the console, a breach of its content security policy. A test ends
 * with `expectNoComplaints`.
 */
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { expect } from 'vitest';

export class Tab {
  readonly page: Page;
  readonly complaints: string[] = [];

  constructor(page: Page) {
    this.page = page;
    page.on('pageerror', (error) => this.complaints.push(error.message));
    page.on('console', (message) => this.complaints.push(message.text()));
  }

  /** Opens the page as somebody new; resolves when it is connected and in its room. */
  static async open(browser: Browser, port: number, options: BrowserContextOptions = {}, user = ''): Promise<Tab> {
    const context = await browser.newContext(options);
    const tab = new Tab(await context.newPage());
    await tab.page.addInitScript((name) => {
      const { sessionStorage } = globalThis as unknown as { sessionStorage: Record<string, string> };
      if (name !== '') sessionStorage.user = name;
    }, user);
    await tab.page.goto(`http://127.0.0.1:${port}/`);
    await tab.isInRoom();
    return tab;
  }

  async isInRoom(): Promise<void> {
    await this.isIn('connected');
    await this.page.getByRole('list', { name: 'Who is here' }).getByText('(you)').waitFor();
  }

  /** Waits until the pill at the top says so. */
  async isIn(state: string): Promise<void> {
    await this.page.getByRole('status').getByText(state, { exact: true }).waitFor();
  }

  async user(): Promise<string> {
    return (await this.page.locator('#me').innerText()).replace(/.*You are /s, '');
  }

  async write(text: string): Promise<void> {
    await this.page.getByRole('textbox', { name: 'Message' }).fill(text);
    await this.page.keyboard.press('Enter');
  }

  async press(name: string): Promise<void> {
    await this.page.getByRole('button', { name, exact: true }).click();
  }

  /** A message that is in the room, and not only on its way. */
  async shows(text: string): Promise<void> {
    await this.page.locator('.panel:not([hidden]) .messages .text').getByText(text, { exact: true }).waitFor();
  }

  /** The messages of the room that is shown. */
  messages(): Promise<string[]> {
    return this.page.locator('.panel:not([hidden]) .messages .text').allInnerTexts();
  }

  /** The figure below this word. */
  fact(name: string): Promise<string> {
    return this.page.locator('.facts div').filter({ hasText: name }).locator('dd').innerText();
  }

  expectNoComplaints(): void {
    expect(this.complaints).toEqual([]);
  }
}
