/**
 * The uWebSockets.js applications on the public port: one without TLS, one per certificate with TLS.
 *
 * An application cannot change its certificate. So with TLS a separate application listens, and passes accepted sockets to
 * the newest one. Older applications keep their connections until these end: a new certificate loses no handshake. A frame
 * is published to all of them. Owns the list of applications; imports nothing of the library, and knows neither routes nor
 * connections.
 */
import type { PublishToTopic } from '../rooms/fanout.ts';
import { type Certificate, readCertificate } from './certificate.ts';
import type { Compression } from './deflate/compression.ts';

/** What is used of an application of the library; its type file lacks the last three. */
export interface App {
  publish(topic: string, frame: Uint8Array | string, isBinary: boolean, compress: boolean): boolean;
  numSubscribers(topic: string): number;
  close(): unknown;
  getDescriptor(): unknown;
  /** Passes accepted sockets to that application; to several in turn. */
  addChildAppDescriptor(descriptor: unknown): void;
  removeChildAppDescriptor(descriptor: unknown): void;
}

export interface CertificateFiles {
  cert_file_name: string;
  key_file_name: string;
}

export interface Library<LibraryApp extends App> {
  plain(): LibraryApp;
  /** Without files the application can only accept sockets and pass them on. */
  tls(files: CertificateFiles | Record<string, never>): LibraryApp;
  /** Adds the routes to an application. */
  route(application: Application<LibraryApp>): void;
}

export interface Application<LibraryApp extends App = App> {
  readonly app: LibraryApp;
  connections: number;
}

/** Bound on memory: the library never frees an application, and each takes about 40 KB. */
const maxCertificates = 10_000;

export class Applications<LibraryApp extends App> {
  /** The application that listens. */
  readonly listener: LibraryApp;
  readonly #library: Library<LibraryApp>;
  readonly #files: CertificateFiles | undefined;
  readonly #compression: Compression;
  /** All applications ever made. The last one gets new connections. */
  readonly #all: Application<LibraryApp>[] = [];
  /** The applications that have connections. */
  #populated: Application[] = [];
  #certificate: Certificate | undefined;
  #digest = '';

  /** Throws an Error if the certificate cannot be used. */
  constructor(library: Library<LibraryApp>, files: CertificateFiles | undefined, compression: Compression) {
    this.#library = library;
    this.#compression = compression;
    this.#files = files;
    this.listener = files === undefined ? library.plain() : library.tls({});
    if (files === undefined) this.#add(this.listener);
    else this.takeCertificate();
  }

  /** The certificate for new connections. Undefined without TLS. */
  get certificate(): Certificate | undefined {
    return this.#certificate;
  }

  readonly publish: PublishToTopic = (topic, frame, binary, compressible) => {
    const compress = compressible && this.#compression.isLargeEnough(frame.length);
    // `for of` would allocate two objects per message.
    for (let index = 0; index < this.#populated.length; index++) {
      const app = this.#populated[index]?.app;
      const affordable = compress && this.#compression.isAffordable(frame.length, app?.numSubscribers(topic) ?? 0);
      app?.publish(topic, frame, binary, affordable);
    }
  };

  /**
   * Reads the certificate and its key, and uses them for new connections; open ones keep theirs. Returns undefined if
   * nothing changed. Throws an Error if they cannot be used; then nothing has changed.
   */
  takeCertificate(): Certificate | undefined {
    if (this.#files === undefined) return undefined;
    const { certificate, digest } = readCertificate(this.#files.cert_file_name, this.#files.key_file_name);
    if (digest === this.#digest) return undefined;
    if (this.#certificate !== undefined && certificate.notAfter.getTime() < Date.now()) {
      throw new Error(`the certificate expired on ${certificate.notAfter.toISOString()}`);
    }
    if (this.#all.length >= maxCertificates) {
      throw new Error(`this node has taken ${maxCertificates} certificates since it started; restart it`);
    }
    const app = this.#secure(this.#files);
    const before = this.#all.at(-1);
    this.#add(app);
    this.listener.addChildAppDescriptor(app.getDescriptor());
    if (before !== undefined) this.listener.removeChildAppDescriptor(before.app.getDescriptor());
    this.#certificate = certificate;
    this.#digest = digest;
    return certificate;
  }

  opened(application: Application): void {
    if (application.connections === 0) this.#populated = [...this.#populated, application];
    application.connections++;
  }

  closed(application: Application): void {
    application.connections--;
    // An older application may still open a connection that it was passed before. `opened` then adds it again.
    if (application.connections === 0) this.#populated = this.#populated.filter((each) => each !== application);
  }

  /** Cuts all connections that are still open. */
  close(): void {
    this.listener.close();
    for (const { app } of this.#all) app.close();
  }

  #secure(files: CertificateFiles): LibraryApp {
    try {
      return this.#library.tls(files);
    } catch (error) {
      throw new Error(`the WebSocket library cannot use this certificate and key: ${(error as Error).message}`);
    }
  }

  #add(app: LibraryApp): void {
    const application = { app, connections: 0 };
    this.#all.push(application);
    this.#library.route(application);
  }
}

interface TlsSettings {
  tlsCertFile: string | undefined;
  tlsKeyFile: string | undefined;
}

/** Undefined without TLS. */
export function certificateFiles({ tlsCertFile, tlsKeyFile }: TlsSettings): CertificateFiles | undefined {
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined;
  return { cert_file_name: tlsCertFile, key_file_name: tlsKeyFile };
}
