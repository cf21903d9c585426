/**
 * What clients of this protocol are told, as values: fields by name, in the order in which JSON has them. JSON and Protobuf
 * are two ways to write them. Pure functions.
 */

/** JSON text that stays as it is: what the protocol calls bytes. */
export class Payload {
  readonly json: string;

  constructor(json: string) {
    this.json = json;
  }
}

export type Value = string | number | boolean | Payload | Fields | readonly Value[];

/** A message, or a map. Fields may also be undefined; they are left out. */
export interface Fields {
  [name: string]: Value | undefined;
}

export function writeJson(value: Value): string {
  if (value instanceof Payload) return value.json;
  if (typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(writeJson).join(',')}]`;
  let text = '';
  for (const [name, field] of Object.entries(value)) {
    if (field !== undefined) text += `${text === '' ? '{' : ','}${JSON.stringify(name)}:${writeJson(field)}`;
  }
  return text === '' ? '{}' : `${text}}`;
}
