/**
 * Lua scripts: their text, and the digest by which EVALSHA runs it. The text is sent once for each connection.
 *
 * In Redis Cluster, declared keys of a script have to lie in one slot. Keys that are not declared only have to be of the same
 * server, where the script has no line `#!lua` (Redis: "Eval scripts with flags"). So KEYS are sent as arguments there, behind
 * their number, and gateway/redis/cluster/keys.lua makes them KEYS again; and messages are published on sharded channels.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Words } from './connection/resp.ts';

export interface Variant {
  text: string;
  sha: string;
}

export interface Script {
  plain: Variant;
  /** For a server of a cluster. */
  sharded: Variant;
}

const preamble = read('cluster/keys.lua');

/** Concatenates files of this folder. */
export function readScript(...files: string[]): Script {
  const text = files.map(read).join('');
  return { plain: variant(text), sharded: variant(preamble + text.replaceAll("'PUBLISH'", "'SPUBLISH'")) };
}

/** The command that runs it. */
export function evaluation(
  { plain, sharded }: Script,
  isSharded: boolean,
  keys: readonly string[],
  values: Words,
): Words {
  return isSharded
    ? ['EVALSHA', sharded.sha, 0, keys.length, ...keys, ...values]
    : ['EVALSHA', plain.sha, keys.length, ...keys, ...values];
}

export function textOf({ plain, sharded }: Script, isSharded: boolean): string {
  return (isSharded ? sharded : plain).text;
}

function read(file: string): string {
  return readFileSync(new URL(`./${file}`, import.meta.url), 'utf8');
}

function variant(text: string): Variant {
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}
