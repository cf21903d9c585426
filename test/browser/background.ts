/**
 * Tabs that a browser really hides, throttles and freezes, as on a desktop. playwright keeps every page of its own in front, so
 * these are driven by the DevTools protocol itself (https://chromedevtools.github.io/devtools-protocol/).
 *
 * Owns the browser and the connections to its tabs.
 */
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { onCleanup } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import { within } from '../support/until.ts';
import { launchBrowser } from './chromium.ts';

/** What playwright gives a browser so that no page is ever in the background. */
const inFront = ['background-timer-throttling', 'backgrounding-occluded-windows', 'renderer-backgrounding'];
/** Timers of a hidden page run once a minute after five minutes; here after this time (chrome://flags knows it, too). */
const graceSeconds = 5;
const answerMs = 10_000;

export class BackgroundBrowser {
  readonly #port: number;

  static async launch(): Promise<BackgroundBrowser> {
    const port = await freePort();
    const throttling = `--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/${graceSeconds}`;
    await launchBrowser({
      args: [`--remote-debugging-port=${port}`, throttling],
      ignoreDefaultArgs: inFront.map((name) => `--disable-${name}`),
    });
    return new BackgroundBrowser(port);
  }

  private constructor(port: number) {
    this.#port = port;
  }

  /** In front of all tabs before it, which are hidden from then on. */
  async open(url: string): Promise<BackgroundTab> {
    const answer = await fetch(`http://127.0.0.1:${this.#port}/json/new?${encodeURIComponent(url)}`, { method: 'PUT' });
    const { webSocketDebuggerUrl } = (await answer.json()) as { webSocketDebuggerUrl: string };
    const socket = new WebSocket(webSocketDebuggerUrl);
    onCleanup(() => socket.terminate());
    await once(socket, 'open');
    const tab = new BackgroundTab(socket);
    await tab.send('Page.bringToFront');
    return tab;
  }
}

export class BackgroundTab {
  readonly #socket: WebSocket;
  readonly #answers = new Map<number, (answer: { result?: object; error?: { message: string } }) => void>();
  #lastId = 0;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (text) => {
      const answer = JSON.parse(String(text));
      this.#answers.get(answer.id)?.(answer);
      this.#answers.delete(answer.id);
    });
  }

  /** The value of an expression; promises are awaited. */
  async evaluate<Value>(expression: string): Promise<Value> {
    const params = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = (await this.send('Runtime.evaluate', params)) as {
      result: { value: Value };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails === undefined) return result.value;
    throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  }

  async freeze(): Promise<void> {
    await this.send('Page.setWebLifecycleState', { state: 'frozen' });
  }

  async resume(): Promise<void> {
    await this.send('Page.setWebLifecycleState', { state: 'active' });
  }

  async show(): Promise<void> {
    await this.send('Page.bringToFront');
  }

  async send(method: string, params: object = {}): Promise<object> {
    const id = ++this.#lastId;
    const answered = new Promise<{ result?: object; error?: { message: string } }>((resolve) => {
      this.#answers.set(id, resolve);
    });
    this.#socket.send(JSON.stringify({ id, method, params }));
    const { result, error } = await within(answered, answerMs, `the browser answers ${method}`);
    if (result === undefined) throw new Error(`${method}: ${error?.message}`);
    return result;
  }
}
