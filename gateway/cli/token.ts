/**
 * `roomcast token`: a token that the nodes with this environment accept, for first tries and for scripts of operators.
 *
 * Applications sign their tokens themselves. The node's own check is applied to the result, so what is printed is accepted.
 */
import { createAuthenticator, signToken } from '../auth/authenticator.ts';
import { TokenError } from '../auth/claims.ts';
import { type Environment, readConfig } from '../config.ts';
import { createLog } from '../telemetry/log.ts';
import { Failure, WrongUse } from './failure.ts';

export interface TokenOptions {
  user: string;
  /** The `rooms` claim, as JSON. */
  rooms?: string;
  /** The `info` claim, as JSON. */
  info?: string;
  ttl: number;
}

/** Rejects with a ConfigError, a Failure or a WrongUse. */
export async function makeToken(options: TokenOptions, env: Environment): Promise<string> {
  const config = readConfig(env);
  const { demo, jwtAudience, jwtIssuer, jwtSecret } = config;
  if (demo || jwtSecret === undefined) {
    throw new Failure(
      'GATEWAY_JWT_SECRET (or GATEWAY_JWT_SECRET_FILE) must be set to the secret of the nodes: it signs the token. ' +
        'Where nodes have a public key or a key set, ask the issuer for a token; in development a node prints one.',
    );
  }
  const claims = {
    sub: options.user,
    ...(options.rooms === undefined ? {} : { rooms: parse('--rooms', options.rooms) as Record<string, string[]> }),
    ...(options.info === undefined ? {} : { info: parse('--info', options.info) }),
    ...(jwtIssuer === undefined ? {} : { iss: jwtIssuer }),
    ...(jwtAudience?.[0] === undefined ? {} : { aud: jwtAudience[0] }),
  };
  const token = await signToken(new TextEncoder().encode(jwtSecret), claims, options.ttl);
  const authenticator = createAuthenticator(config, createLog('silent'));
  try {
    await authenticator.verify(token);
    return token;
  } catch (error) {
    if (!(error instanceof TokenError)) throw error;
    throw new WrongUse(`a node would refuse this token: ${error.message}.`);
  } finally {
    authenticator.close();
  }
}

function parse(option: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new WrongUse(`${option} is not JSON: ${(error as Error).message}; put it in single quotes.`);
  }
}
