/**
 * Prints a token that this gateway accepts, signed with GATEWAY_JWT_SECRET(_FILE): for first tries and for scripts of
 * operators. Applications sign their tokens themselves. Runs in the image:
 *
 *   docker-compose run --rm --no-deps -T gateway node deploy/mint-token.mjs --user alice --ttl 3600
 */
import { parseArgs } from 'node:util';
import { signToken } from '../dist/gateway/auth/authenticator.js';
import { readGrants } from '../dist/gateway/auth/grants.js';
import { readConfig } from '../dist/gateway/config.js';

const usage = `usage: node deploy/mint-token.mjs --user <user> [--rooms <json>] [--info <json>] [--ttl <seconds>]
  --user   the sub claim, 1 to 200 bytes
  --rooms  the rooms claim: {"chat:*": ["subscribe", "publish"]}; without it only the room rules grant access
  --info   the info claim, any JSON up to 512 bytes
  --ttl    seconds until the token expires; default 3600
`;

function parseJson(option, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TypeError(`--${option} is not JSON: ${error.message}`);
  }
}

function readClaims({ user, rooms, info }) {
  const bytes = Buffer.byteLength(user ?? '');
  if (bytes < 1 || bytes > 200) throw new TypeError('--user must have 1 to 200 bytes');
  const claims = { sub: user };
  if (rooms !== undefined) {
    claims.rooms = parseJson('rooms', rooms);
    readGrants(claims.rooms);
  }
  if (info !== undefined) {
    claims.info = parseJson('info', info);
    if (Buffer.byteLength(JSON.stringify(claims.info)) > 512) throw new TypeError('--info must have at most 512 bytes');
  }
  return claims;
}

function readTtl(text) {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new TypeError('--ttl must be a whole number of seconds, 1 or more');
  return Number(text);
}

function readSecret() {
  const { demo, jwtSecret } = readConfig(process.env);
  if (demo || jwtSecret === undefined) {
    throw new TypeError('GATEWAY_JWT_SECRET (or GATEWAY_JWT_SECRET_FILE) must be set: a public key cannot sign');
  }
  return new TextEncoder().encode(jwtSecret);
}

try {
  const { values } = parseArgs({
    options: {
      user: { type: 'string' },
      rooms: { type: 'string' },
      info: { type: 'string' },
      ttl: { type: 'string', default: '3600' },
    },
  });
  const claims = readClaims(values);
  process.stdout.write(`${await signToken(readSecret(), claims, readTtl(values.ttl))}\n`);
} catch (error) {
  process.stderr.write(`${error.message}\n\n${usage}`);
  process.exitCode = 2;
}
