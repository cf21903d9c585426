/**
 * `roomcast check-config`: every mistake in the settings of this environment, and every effective value with its source.
 *
 * The mistakes are those at which a node would not start. The value of a secret is never part of the result.
 */
import { type Environment, inspectConfig } from '../config.ts';
import { givenText } from '../environment.ts';
import { type Setting, settingPrefix, settings } from '../settings.ts';
import { table } from './output.ts';

export interface CheckedSetting {
  name: string;
  /** As in the environment; `***` for a secret, null without a value. */
  value: string | null;
  source: 'default' | 'environment' | 'file';
  /** Of source `file`. */
  file?: string;
}

export interface Checked {
  mistakes: string[];
  warnings: string[];
  settings: CheckedSetting[];
}

export function checkConfig(env: Environment): Checked {
  const { mistakes, warnings, defaults } = inspectConfig(env);
  const dependent = defaults as Partial<Record<string, string | number>>;
  const checked = Object.entries<Setting<unknown>>(settings).map(([key, each]): CheckedSetting => {
    // The mistakes are already known.
    const { text, ...from } = givenText(env, each, []);
    const value = text || `${dependent[key] ?? ''}` || null;
    return { name: settingPrefix + each.name, value: value !== null && each.secret ? '***' : value, ...from };
  });
  return { mistakes, warnings, settings: checked };
}

export function settingsTable(checked: CheckedSetting[]): string {
  const rows = checked.map(({ name, value, source, file }) => [name, value ?? '-', file ? `file ${file}` : source]);
  return table([['SETTING', 'VALUE', 'SOURCE'], ...rows]);
}
