/**
 * The applications of the WebSocket library on the public port: one, and with TLS one for each certificate.
 *
 * An application keeps the certificate that it was made with. So with TLS another one listens and hands what it accepts to
 * the newest, while older ones keep their connections to their end: no handshake is lost, and a frame goes to all of them.
 * Owns which there are. It imports nothing of the library, and knows neither routes nor connections.
 */

import type { PublishToTopic } from '../rooms/fanout.ts';
import { type Certificate, readCertificate } from './certificate.ts';

/** As the library has it; its type file lacks the last three. */
export interface App {
  publish(topic: string, frame: Uint8Array | string, isBinary: boolean, compress: boolean): boolean;
  close(): unknown;
  getDescriptor(): unknown;
  /** Hands it what this one accepts: to each of several in turn. */
  addChildAppDescriptor(descriptor: unknown): void;
  removeChildAppDescriptor(descriptor: unknown): void;
}

export interface CertificateFiles {
  cert_file_name: string;
  key_file_name: string;
}

export interface Library<LibraryApp extends App> {
  plain(): LibraryApp;
  /** Without files it can only accept. */
  tls(files: CertificateFiles | Record<string, never>): LibraryApp;
  /** Makes the application serve. */
  route(application: Application<LibraryApp>): void;
}

export interface Application<LibraryApp extends App = App> {
  readonly app: LibraryApp;
  connections: number;
}

/** The library never frees an application; each takes some 40 KB. */
const maxCertificates = 10_000;

export class Applications<LibraryApp extends App> {
  /** The one that listens. */
  readonly listener: LibraryApp;
  readonly #library: Library<LibraryApp>;
  readonly #files: CertificateFiles | undefined;
  /** All that were made. The last one is given new connections. */
  readonly #all: Application<LibraryApp>[] = [];
  /** Those that have connections. */
  #populated: Application[] = [];
  #certificate: Certificate | undefined;
  #digest = '';

  /** Throws an Error if the certificate cannot be used. */
  constructor(library: Library<LibraryApp>, files: CertificateFiles | undefined) {
    this.#library = library;
    this.#files = files;
    this.listener = files === undefined ? library.plain() : library.tls({});
    if (files === undefined) this.#add(this.listener);
    else this.takeCertificate();
  }

  /** The one that new connections are served with. Undefined without TLS. */
  get certificate(): Certificate | undefined {
    return this.#certificate;
  }

  readonly publish: PublishToTopic = (topic, frame, binary) => {
    // An iterator would be two objects for each message.
    for (let index = 0; index < this.#populated.length; index++) {
      this.#populated[index]?.app.publish(topic, frame, binary, false);
    }
  };

  /**
   * Reads the certificate and its key: from now on new connections are served with them, open ones go on as they are.
   * Returns undefined if they are the same as before. Throws an Error if they cannot be used; then all stays as it was.
   */
  takeCertificate(): Certificate | undefined {
    if (this.#files === undefined) return undefined;
    const { certificate, digest } = readCertificate(this.#files.cert_file_name, this.#files.key_file_name);
    if (digest === this.#digest) return undefined;
    if (this.#certificate !== undefined && certificate.notAfter.getTime() < Date.now()) {
      throw new Error(`the certificate has ended on ${certificate.notAfter.toISOString()}`);
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
    // An older one may still get a connection that it was given before: it is forgotten only while it has none.
    if (application.connections === 0) this.#populated = this.#populated.filter((each) => each !== application);
  }

  /** Cuts what is still open. */
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
