/**
 * Reading a configuration in tests: settings by their names without GATEWAY_, files for those that name one, and keys.
 *
 * Owns these files: each goes with the test that made it.
 */
import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type Config, ConfigError, type Environment, readConfig } from '../../../gateway/config.ts';

const newPath = () => join(tmpdir(), `roomcast-test-${randomUUID()}`);

export const absentFile = newPath();
/** Begins with what must never be found in anything that is printed. */
export const secret = 'never-print-this-secret-0123456789abcdef';

/** The path of a new file with this content. */
export function file(content: string): string {
  const path = newPath();
  writeFileSync(path, content);
  onTestFinished(() => rmSync(path));
  return path;
}

/** Settings on top of a secret; '' takes it away. */
export function read(settings: Environment = {}, nodeEnv?: string): Config {
  const all = Object.entries({ JWT_SECRET: secret, ...settings }).map(([name, value]) => [`GATEWAY_${name}`, value]);
  return readConfig({ ...Object.fromEntries(all), NODE_ENV: nodeEnv });
}

/** None when it was read. */
export function mistakesOf(settings: Environment, nodeEnv?: string): string[] {
  try {
    read(settings, nodeEnv);
  } catch (error) {
    if (error instanceof ConfigError) return error.mistakes;
    throw error;
  }
  return [];
}

export function pem({ publicKey }: { publicKey: KeyObject }): string {
  return String(publicKey.export({ type: 'spki', format: 'pem' }));
}

export function jwk({ publicKey }: { publicKey: KeyObject }): string {
  return JSON.stringify(publicKey.export({ format: 'jwk' }));
}

/** A key pair on an elliptic curve, `P-256` for instance. */
export function curve(namedCurve: string) {
  return generateKeyPairSync('ec', { namedCurve });
}

/** A public key as it stands in a JSON Web Key Set. */
export function inSet({ publicKey }: { publicKey: KeyObject }, fields: object) {
  return { ...publicKey.export({ format: 'jwk' }), ...fields };
}
