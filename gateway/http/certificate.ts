/**
 * The certificate for TLS at the node: read from its two files, checked and described. It knows no sockets.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';

/** Public facts about the certificate, for the log and a metric. */
export interface Certificate {
  /** Its subjectAltName: `DNS:example.com, IP Address:10.0.0.1`. */
  names: string;
  serial: string;
  notBefore: Date;
  notAfter: Date;
}

/** Throws an Error that says why the files cannot be used. The digest covers the content of both. */
export function readCertificate(certFile: string, keyFile: string): { certificate: Certificate; digest: string } {
  const cert = readFileSync(certFile);
  const key = readFileSync(keyFile);
  createSecureContext({ cert, key });
  const { serialNumber, subjectAltName, validFrom, validTo } = new X509Certificate(cert);
  return {
    digest: createHash('sha256').update(cert).update('\0').update(key).digest('hex'),
    certificate: {
      names: subjectAltName ?? '',
      serial: serialNumber,
      notBefore: new Date(validFrom),
      notAfter: new Date(validTo),
    },
  };
}
