/**
 * Request smuggling, RFC 9112 section 11.2, through HAProxy with the rules of deploy/haproxy/haproxy.cfg: of whatever a client
 * sends, the node gets nothing, or bytes with one reading (one-reading.ts), with as many requests as HAProxy answered.
 *
 * haproxy.test.ts shows what of it is refused in so many words.
 */
import { beforeAll, expect, test } from 'vitest';
import { RawSocket } from '../support/raw-socket.ts';
import { startHaproxy } from './haproxy.ts';
import { type Recorder, readStrictly, startRecorder } from './one-reading.ts';

let recorder: Recorder;
const target = { port: 0 };

beforeAll(async () => {
  recorder = await startRecorder();
  target.port = (await startHaproxy(recorder)).port;
});

const host = 'Host: localhost\r\n';
const post = (headers: string, body: string) => `POST /healthz HTTP/1.1\r\n${host}${headers}\r\n${body}`;
const get = (line: string, headers = '') => `${line}\r\n${host}${headers}\r\n`;
const chunked = '5\r\nhello\r\n0\r\n\r\n';
const inChunks = (body: string) => post('Transfer-Encoding: chunked\r\n', body);
const line = 'GET /healthz HTTP/1.1';

const cases: [what: string, bytes: string][] = [
  ['two different Content-Length', post('Content-Length: 5\r\nContent-Length: 0\r\n', 'hello')],
  ['two equal Content-Length', post('Content-Length: 5\r\nContent-Length: 5\r\n', 'hello')],
  ['a Content-Length of 0x5', post('Content-Length: 0x5\r\n', 'hello')],
  ['a Content-Length beyond 2^64', post('Content-Length: 99999999999999999999999\r\n', 'hello')],
  ['a Content-Length with a space before the colon', post('Content-Length : 5\r\n', 'hello')],
  ['a folded Content-Length', post('Content-Length:\r\n 5\r\n', 'hello')],
  ['a Content-Length hidden in a fold', post('X: a\r\n Content-Length: 5\r\n', '')],
  ['chunked beside a Content-Length', post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', chunked)],
  ['an empty Transfer-Encoding beside a Content-Length', post('Transfer-Encoding:\r\nContent-Length: 5\r\n', 'hello')],
  ['chunked behind a tab', post('Transfer-Encoding:\tchunked\r\n', chunked)],
  ['chunked behind a vertical tab', post('Transfer-Encoding:\x0bchunked\r\n', chunked)],
  ['chunked with a space before the colon', post('Transfer-Encoding : chunked\r\n', chunked)],
  ['chunked in quotes', post('Transfer-Encoding: "chunked"\r\n', chunked)],
  ['Chunked with a capital', post('Transfer-Encoding: Chunked\r\n', chunked)],
  ['chunked, identity', post('Transfer-Encoding: chunked, identity\r\n', chunked)],
  ['chunked and identity on two lines', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', chunked)],
  ['chunked twice', post('Transfer-Encoding: chunked, chunked\r\n', chunked)],
  ['a chunk of 0x5', inChunks('0x5\r\nhello\r\n0\r\n\r\n')],
  ['a chunk of -1', inChunks('-1\r\nhello\r\n0\r\n\r\n')],
  ['a chunk beyond 2^64', inChunks('ffffffffffffffff5\r\nhello\r\n0\r\n\r\n')],
  ['chunks that end with a line feed alone', inChunks('5\nhello\n0\n\n')],
  ['a chunk with a wrong end', inChunks('5\r\nhelloXX0\r\n\r\n')],
  ['a chunk extension with a line feed', inChunks('5;a\nb\r\nhello\r\n0\r\n\r\n')],
  ['a chunk extension', inChunks('5;name="value"\r\nhello\r\n0\r\n\r\n')],
  ['a trailer that is a length', inChunks('5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n')],
  ['lines that end with a line feed alone', `${line}\n${host.trimEnd()}\n\n`],
  ['a header behind a line feed alone', get(line, 'X: a\nContent-Length: 30\r\n')],
  ['a header behind a carriage return alone', get(line, 'X: a\rContent-Length: 30\r\n')],
  ['a space before the first header', `${line}\r\n ${host}${host}\r\n`],
  ['a header without a colon', get(line, 'Nothing\r\n')],
  ['a header without a name', get(line, ': x\r\n')],
  ['a name with a space', get(line, 'X Y: x\r\n')],
  ['a name with a NUL', get(line, 'X\0Y: x\r\n')],
  ['a body of a GET', `${get(line, 'Content-Length: 5\r\n')}hello`],
  ['two spaces in the request line', get('GET  /healthz HTTP/1.1')],
  ['a third word in the request line', get('GET /healthz x HTTP/1.1')],
  ['a version of HTTP/1.1x', get('GET /healthz HTTP/1.1x')],
  ['no version', get('GET /healthz')],
  ['an empty line first', `\r\n${get(line)}`],
  ['a tunnel', get('CONNECT localhost:8081 HTTP/1.1')],
  ['101 headers and more', get(line, Array.from({ length: 150 }, (_, index) => `X-${index}: x\r\n`).join(''))],
  ['a header of 20 KB', get(line, `X: ${'x'.repeat(20_000)}\r\n`)],
  [
    'an upgrade to HTTP/2',
    get(line, 'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n'),
  ],
  ['Content-Length named in Connection', post('Connection: Content-Length\r\nContent-Length: 5\r\n', 'hello')],
];

test.each(cases)('RFC 9112 11.2: %s', async (_, bytes) => {
  recorder.take();
  const socket = await RawSocket.connect(target.port);
  const marker = 'GET /healthz?behind HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
  await socket.write(Buffer.from(bytes + marker, 'latin1'));
  await socket.ended(7_000);
  const requests = recorder.take().flatMap(readStrictly);
  // Never more than were sent, and the second one never with a part of the first.
  expect(requests.length).toBeLessThanOrEqual(2);
  for (const request of requests) expect(request).toMatch(/^(GET|POST) \/healthz(\?behind)? HTTP\/1\.1$/);
  expect(requests.filter((request) => request.includes('?behind')).length).toBeLessThanOrEqual(1);
});

test('the strict reader finds what HAProxy must not pass on', () => {
  const good = post('Content-Length: 5\r\n', 'hello') + inChunks(chunked) + get(line);
  expect(readStrictly(good)).toEqual(['POST /healthz HTTP/1.1', 'POST /healthz HTTP/1.1', line]);
  const bad = cases.filter(
    ([what]) => !/equal|a body of|a tunnel|101|20 KB|HTTP\/2|named in|Chunked|behind a tab|trailer/.test(what),
  );
  for (const [what, bytes] of bad) expect(() => readStrictly(bytes), what).toThrow();
});
