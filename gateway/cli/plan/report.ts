/**
 * A plan as text. Owns words and layout; the numbers come from gateway/cli/plan/capacity.ts, the advice from
 * gateway/cli/plan/advice.ts.
 */
import { type Advice, amount } from './advice.ts';
import { descriptorsKept, type Plan, type Workload } from './capacity.ts';

const labelWidth = 36;
const lineWidth = 96;

export function report(workload: Workload, plan: Plan, advice: Advice): string {
  const details = [...eachNodeLines(plan), '', ...redisLines(workload, plan), '', ...reconnectLines(workload, plan)];
  return [
    ...wrapped(summary(workload, plan), ''),
    '',
    ...nodeLines(workload, plan),
    ...(Number.isFinite(plan.nodes) ? details : []),
    '',
    ...adviceLines(advice),
    '',
  ].join('\n');
}

function summary(workload: Workload, { membersPerRoom, deliveriesPerSecond }: Plan): string {
  const { connections, rooms, roomsPerConnection, messagesPerSecond, messageBytes, historyShare, presenceShare } =
    workload;
  const shares = [
    historyShare > 0 ? `, history in ${percent(historyShare)} of the rooms` : '',
    presenceShare > 0 ? `, presence in ${percent(presenceShare)}` : '',
  ];
  return (
    `${counted(connections, 'connection')}, each in ${counted(roomsPerConnection, 'room')}; ` +
    `${counted(rooms, 'room')} of ${counted(membersPerRoom, 'member')}; ` +
    `${amount(messagesPerSecond)} messages/s of ${amount(messageBytes)} B, so ` +
    `${amount(deliveriesPerSecond)} deliveries/s${shares.join('')}.`
  );
}

function nodeLines(workload: Workload, { nodes, spare, nodeBounds }: Plan): string[] {
  const { descriptors, share, nodeGb, networkGbit } = workload;
  const bounds: [label: string, needed: number][] = [
    [`connections (${amount(descriptors - descriptorsKept)} each)`, nodeBounds.connections],
    [`CPU (${percent(share)} of a core each)`, nodeBounds.CPU],
    [`memory (${amount(nodeGb)} GB each)`, nodeBounds.memory],
    [`network (${percent(share)} of ${amount(networkGbit)} Gbit/s each)`, nodeBounds.network],
  ];
  return [
    line('Nodes', amount(nodes) + (Number.isFinite(nodes) ? `, plus ${amount(spare)} spare` : '')),
    ...bounds.map(([label, needed]) =>
      line(`  ${label}`, `${amount(needed)}${needed === nodes && nodes > 1 ? '  <- decides' : ''}`),
    ),
  ];
}

function eachNodeLines({ node, fanOut }: Plan): string[] {
  const { work } = node;
  return [
    'Each of them',
    line('  connections, rooms', `${amount(node.connections)}, ${amount(node.rooms)}`),
    line('  messages from Redis, deliveries', `${amount(work.received)}/s, ${amount(work.deliveries)}/s`),
    line('  writes to members', `${amount(work.writes)}/s`),
    line('  CPU, memory', `${percent(node.cores)} of a core, ${amount(node.bytes / 1e9)} GB`),
    line('  network in, out', `${bandwidth(node.inGbit)}, ${bandwidth(node.outGbit)}`),
    line('Nodes that get a message', `${amount(fanOut)} on average`),
  ];
}

function redisLines({ share, redisGb, networkGbit }: Workload, { redis }: Plan): string[] {
  const decides = Math.max(...Object.values(redis.bounds));
  const mark = (bound: number) => (bound === decides ? '  <- decides' : '');
  const { CPU, memory, network } = redis.bounds;
  return [
    line('Redis', amount(redis.shards)),
    line(`  CPU (${percent(share)} of a core each)`, `${amount(CPU)}${mark(CPU)}`),
    ...Object.entries(redis.parts)
      .filter(([, cores]) => cores > 0)
      .map(([part, cores]) => line(`    ${part}`, amount(cores / share))),
    line(`  memory (${amount(redisGb)} GB each)`, `${amount(memory)}${mark(memory)}`),
    line(`  network (${percent(share)} of ${amount(networkGbit)} Gbit/s each)`, `${amount(network)}${mark(network)}`),
    line('  in, out', `${bandwidth(redis.inGbit)}, ${bandwidth(redis.outGbit)}`),
  ];
}

function reconnectLines({ deployMinutes }: Workload, { spare, movesPerSecond, herdSeconds }: Plan): string[] {
  return [
    line(
      `Deploy in ${amount(deployMinutes)} minutes`,
      `${amount(spare)} at a time, ${amount(movesPerSecond)} clients/s move`,
    ),
    line('All clients reconnect at once', `the last is connected after ${amount(herdSeconds)} s`),
  ];
}

function adviceLines({ breaksFirst, used, change, warnings }: Advice): string[] {
  const when = used < 1 ? `${percent(used)} of its planned share is used` : `${amount(used)} times its planned share`;
  return [
    ...wrapped(`Breaks first: ${breaksFirst}; ${when}.`, '  '),
    ...wrapped(`Then: ${change}.`, '  '),
    ...warnings.flatMap((warning) => wrapped(`Warning: ${warning}`, '  ')),
  ];
}

function line(label: string, value: string): string {
  return `${label.padEnd(labelWidth)}${value}`;
}

/** Wraps a sentence; all lines but the first begin with `indent`. */
function wrapped(sentence: string, indent: string): string[] {
  const lines: string[] = [];
  let current = '';
  for (const word of sentence.split(' ')) {
    if (current !== '' && current.length + 1 + word.length > lineWidth) {
      lines.push(current);
      current = indent + word;
    } else current += current === '' ? word : ` ${word}`;
  }
  return [...lines, current];
}

function counted(value: number, noun: string): string {
  return `${amount(value)} ${noun}${value === 1 ? '' : 's'}`;
}

function percent(share: number): string {
  return `${amount(share * 100)} %`;
}

function bandwidth(gbit: number): string {
  return gbit < 1 ? `${amount(gbit * 1000)} Mbit/s` : `${amount(gbit)} Gbit/s`;
}
