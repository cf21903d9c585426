/** An EventSource over fetch, as far as the client for JavaScript needs one: Node 20 has none. It never reconnects. */

export class FetchedEvents {
  onopen: () => void = () => undefined;
  onerror: (error: unknown) => void = () => undefined;
  onmessage: (event: { data: string }) => void = () => undefined;
  readonly #aborting = new AbortController();

  constructor(url: string) {
    this.#read(url).catch((error: unknown) => this.#aborting.signal.aborted || this.onerror(error));
  }

  close(): void {
    this.#aborting.abort();
  }

  async #read(url: string): Promise<void> {
    const { ok, status, body } = await fetch(url, { signal: this.#aborting.signal });
    if (!ok || body === null) throw new Error(`answered with ${status}`);
    this.onopen();
    let text = '';
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      const events = (text + chunk).split('\n\n');
      text = events.pop() ?? '';
      for (const event of events) {
        const data = event.split('\n').filter((line) => line.startsWith('data: '));
        if (data.length > 0) this.onmessage({ data: data.map((line) => line.slice(6)).join('\n') });
      }
    }
    throw new Error('the stream has ended');
  }
}
