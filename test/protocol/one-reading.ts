/**
 * A server behind HAProxy in the place of a node, which keeps what it is sent, and a reader of HTTP/1.1 so strict that it and any
 * other reader must agree (RFC 9112): whatever a client sends, what comes here has one reading.
 */
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server } from 'node:net';
import { onCleanup } from '../support/cleanup.ts';

const requestLine = /^[A-Z]+ [\x21-\x7e]+ HTTP\/1\.1$/;
/** RFC 9110 section 5: a token, a colon, and no control character. */
const field = /^([!#$%&'*+.^_`|~\w-]+): ?([\t\x20-\x7e\x80-\xff]*)$/;
const chunkLine = /^[0-9a-fA-F]{1,8}$/;

/** The requests in these bytes, each as its first line. Throws at the first byte that could be read in another way. */
export function readStrictly(bytes: string): string[] {
  const requests: string[] = [];
  for (let rest = bytes; rest !== ''; ) {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0) throw new Error(`no end of the header: ${JSON.stringify(rest)}`);
    const [first = '', ...lines] = rest.slice(0, end).split('\r\n');
    if (!requestLine.test(first)) throw new Error(`no request line: ${JSON.stringify(first)}`);
    const lengths: string[] = [];
    for (const line of lines) {
      const [, name = '', value = ''] = field.exec(line) ?? [];
      if (name === '') throw new Error(`no header: ${JSON.stringify(line)}`);
      if (/^(content-length|transfer-encoding)$/i.test(name)) lengths.push(value.trim());
    }
    if (lengths.length > 1) throw new Error(`two lengths: ${lengths}`);
    rest = afterBody(rest.slice(end + 4), lengths[0]);
    requests.push(first);
  }
  return requests;
}

function afterBody(text: string, length = '0'): string {
  if (/^\d{1,9}$/.test(length)) {
    if (text.length < Number(length)) throw new Error(`the body has ${text.length} bytes, not ${length}`);
    return text.slice(Number(length));
  }
  if (length.toLowerCase() !== 'chunked') throw new Error(`no length: ${length}`);
  for (let rest = text; ; ) {
    const [size = ''] = rest.split('\r\n', 1);
    if (!chunkLine.test(size)) throw new Error(`no chunk: ${JSON.stringify(rest)}`);
    rest = rest.slice(size.length + 2);
    const bytes = Number.parseInt(size, 16);
    if (bytes === 0) return afterTrailers(rest);
    if (rest.slice(bytes, bytes + 2) !== '\r\n') throw new Error(`no end of a chunk: ${JSON.stringify(rest)}`);
    rest = rest.slice(bytes + 2);
  }
}

/** No trailer looks like the begin of a request, for a reader that knows no trailers. */
function afterTrailers(text: string): string {
  for (let rest = text; ; ) {
    const [line = ''] = rest.split('\r\n', 1);
    if (line !== '' && !field.test(line)) throw new Error(`no trailer: ${JSON.stringify(line)}`);
    if (rest.length < line.length + 2) throw new Error(`no end of the trailers: ${JSON.stringify(text)}`);
    rest = rest.slice(line.length + 2);
    if (line === '') return rest;
  }
}

export interface Recorder {
  port: number;
  adminPort: number;
  /** What each connection to it has sent since the last call. */
  take(): string[];
}

/** Answers each piece that ends a header or a body by 200, and its health on another port. */
export async function startRecorder(): Promise<Recorder> {
  let streams: string[] = [];
  const server = createServer((socket) => {
    const index = streams.push('') - 1;
    const own = streams;
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      own[index] += chunk.toString('latin1');
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
      socket.end();
    });
  });
  const health = createHttpServer((_, response) => response.end('ready'));
  return {
    port: await listen(server),
    adminPort: await listen(health),
    take: () => {
      const taken = streams;
      streams = [];
      return taken;
    },
  };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onCleanup(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as { port: number }).port;
}
