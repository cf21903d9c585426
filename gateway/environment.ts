/**
 * The environment, read setting by setting: what is given, from where, and what value it stands for.
 *
 * `<name>_FILE` gives a secret as a file. No mistake contains the value of a secret. gateway/config.ts checks settings
 * against each other, and is the only other file that gets an environment.
 */
import { readFileSync } from 'node:fs';
import { isServiceLink } from './setting-names.ts';
import { type Setting, type Settings, settingPrefix, settings } from './settings.ts';

export type Environment = Record<string, string | undefined>;

/** What a setting has as text, and where that comes from. '' without a default. */
export interface Given {
  text: string;
  source: 'default' | 'environment' | 'file';
  /** Of source `file`. */
  file?: string;
}

export function readSettings(env: Environment, mistakes: string[]): Settings {
  const values = Object.entries<Setting<unknown>>(settings).map(([key, each]) => [
    key,
    readSetting(env, each, mistakes),
  ]);
  return Object.fromEntries(values) as Settings;
}

/** The value; undefined if there is none, or if it is a mistake. */
export function readSetting<Value>(env: Environment, each: Setting<Value>, mistakes: string[]): Value | undefined {
  const variable = settingPrefix + each.name;
  const { text } = givenText(env, each, mistakes);
  if (text === '') return undefined;
  if (/^(["']).*\1$/s.test(text)) {
    mistakes.push(`${variable} is in quotes, which would be part of the value; leave them out.`);
    return undefined;
  }
  const result = each.schema.safeParse(text);
  if (result.success) return result.data;
  mistakes.push(`${variable} ${result.error.issues[0]?.message}${each.secret ? '' : `, not "${text}"`}.`);
  return undefined;
}

export function givenText(env: Environment, each: Setting<unknown>, mistakes: string[]): Given {
  const variable = settingPrefix + each.name;
  const value = given(env, variable);
  const file = each.secret ? given(env, `${variable}_FILE`) : '';
  if (file === '') {
    const isGiven = value !== '' && !isServiceLink(variable, value);
    return isGiven ? { text: value, source: 'environment' } : { text: each.default, source: 'default' };
  }
  if (value !== '') mistakes.push(`${variable} and ${variable}_FILE are both set; keep one.`);
  const content = readText(file, `${variable}_FILE`, mistakes)?.trim();
  if (content === '') mistakes.push(`${variable}_FILE names an empty file: ${file}.`);
  return { text: content ?? '', source: 'file', file };
}

/** The value without white space around it, such as a copied line end. '' if not set. */
export function given(env: Environment, variable: string): string {
  return env[variable]?.trim() ?? '';
}

/** True if the variable or its `_FILE` is set. */
export function isGiven(env: Environment, variable: string): boolean {
  return given(env, variable) !== '' || given(env, `${variable}_FILE`) !== '';
}

export function readText(file: string, variable: string, mistakes: string[]): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    mistakes.push(`${variable} names a file that cannot be read: ${(error as Error).message}.`);
    return undefined;
  }
}
