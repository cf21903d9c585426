/**
 * What a program keeps on its heap: objects of each class, from a heap snapshot.
 *
 * Counted are objects, arrays, strings, closures, numbers and memory outside of the heap that belongs to an object. Not counted
 * is what V8 keeps for itself: compiled code, feedback, shapes. It grows for many minutes, by one more function that has become hot, and
 * is bounded by the size of the program.
 */
import { readFileSync } from 'node:fs';

export interface Kept {
  count: number;
  bytes: number;
}

/** By class, for instance `Connection`; strings and numbers of all kinds are one class each. */
export type Objects = ReadonlyMap<string, Kept>;

/** As v8.writeHeapSnapshot writes it. */
interface Snapshot {
  snapshot: { meta: { node_fields: string[]; node_types: [string[], ...unknown[]] } };
  nodes: number[];
  strings: string[];
}

const ofV8 = new Set(['code', 'hidden', 'object shape', 'synthetic']);
const anyString = new Set(['string', 'concatenated string', 'sliced string']);

export function readObjects(file: string): Objects {
  const { snapshot, nodes, strings } = JSON.parse(readFileSync(file, 'utf8')) as Snapshot;
  const { node_fields: fields, node_types: types } = snapshot.meta;
  const [type, name, size] = ['type', 'name', 'self_size'].map((field) => fields.indexOf(field)) as [
    number,
    number,
    number,
  ];
  const kept = new Map<string, Kept>();
  for (let at = 0; at < nodes.length; at += fields.length) {
    const kind = types[0][nodes[at + type] as number] ?? '';
    if (ofV8.has(kind)) continue;
    const own = strings[nodes[at + name] as number] ?? '';
    const of = classOf(kind, own);
    const before = kept.get(of) ?? { count: 0, bytes: 0 };
    kept.set(of, { count: before.count + 1, bytes: before.bytes + (nodes[at + size] as number) });
  }
  return kept;
}

function classOf(kind: string, name: string): string {
  if (anyString.has(kind)) return 'string';
  return kind === 'object' || kind === 'native' ? name : kind;
}

/** What has more instances, or more bytes, than before; the largest first. */
export function grown(before: Objects, after: Objects): (Kept & { name: string })[] {
  return [...after]
    .map(([name, { count, bytes }]) => {
      const was = before.get(name) ?? { count: 0, bytes: 0 };
      return { name, count: count - was.count, bytes: bytes - was.bytes };
    })
    .filter(({ count, bytes }) => count > 0 || bytes > 0)
    .sort((one, other) => other.bytes - one.bytes);
}
