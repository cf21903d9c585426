/**
 * The line between the client library and the node: WebSockets that can be watched, timed and cut.
 *
 * The library gets `line.WebSocket` instead of the browser's, so it needs no seam of its own. A cut looks to it like a lost
 * network: every socket ends with 1006 and no new one opens until the line is restored.
 */
const pingMs = 2_000;
const ping = '{"type":"ping","id":"latency"}';
const open = 1;

export function createLine(listener) {
  const sockets = new Set();
  let isCut = false;
  let count = 0;

  class WatchedSocket {
    onmessage = null;
    onclose = null;
    onerror = null;
    /** The first one of this page is 1. Undefined: never on the line. */
    number;
    welcome;
    #socket;
    #openedAt = performance.now();
    #pingedAt;
    #isOver = false;

    constructor(url, protocols) {
      if (isCut) {
        setTimeout(() => this.#end({ code: 1006, reason: 'the line is cut' }));
        return;
      }
      this.number = ++count;
      this.#socket = new WebSocket(url, protocols);
      this.#socket.onmessage = ({ data }) => this.#take(data);
      this.#socket.onclose = ({ code, reason }) => this.#end({ code, reason });
      sockets.add(this);
    }

    send(text) {
      if (this.#socket?.readyState !== open) return;
      listener.frame(this, 'out', text);
      this.#socket.send(text);
    }

    close(code) {
      this.#socket?.close(code);
    }

    /** The library hears of it at once. The node sees a close: a page cannot drop a line without one. */
    cut() {
      this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
      this.#end({ code: 1006, reason: 'the line was cut' });
    }

    ping() {
      if (this.welcome === undefined || this.#pingedAt !== undefined) return;
      this.#pingedAt = performance.now();
      this.send(ping);
    }

    #take(text) {
      listener.frame(this, 'in', text);
      const frame = JSON.parse(text);
      if (frame.type === 'welcome') {
        this.welcome = frame;
        listener.welcomed(this, performance.now() - this.#openedAt);
        listener.changed();
        this.ping();
      } else if (frame.type === 'reconnect') {
        listener.asked(this);
      } else if (frame.type === 'pong' && frame.id === 'latency') {
        listener.latency(performance.now() - this.#pingedAt);
        this.#pingedAt = undefined;
      }
      this.onmessage?.({ data: text });
    }

    #end(end) {
      if (this.#isOver) return;
      this.#isOver = true;
      sockets.delete(this);
      listener.ended(this, end);
      listener.changed();
      this.onclose?.(end);
    }
  }

  const welcomed = () => [...sockets].filter(({ welcome }) => welcome !== undefined);
  setInterval(() => welcomed().at(-1)?.ping(), pingMs);

  return {
    WebSocket: WatchedSocket,
    get isCut() {
      return isCut;
    },
    /** Those that the node has welcomed; the newest is the last. */
    get open() {
      return welcomed();
    },
    cut() {
      isCut = true;
      for (const socket of [...sockets]) socket.cut();
    },
    restore() {
      isCut = false;
      // What a browser says when the network is back: the library then tries within a second.
      window.dispatchEvent(new Event('online'));
    },
  };
}
