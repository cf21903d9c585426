/**
 * Checks the names of all GATEWAY_* variables: a setting, a name to ignore with a warning, or a mistake.
 *
 * A mistake names the setting that was probably meant. Values are read only to recognise Kubernetes service links.
 */
import { settingPrefix, settings } from './settings.ts';

/** All valid names, without the prefix. */
const settingNames = Object.values(settings).flatMap(({ name, secret }) => (secret ? [name, `${name}_FILE`] : [name]));

/** Names listed in one warning. */
const mostListed = 10;

/** Adds unknown names to `mistakes`; returns warnings about ignored names. */
export function checkNames(env: Record<string, string | undefined>, mistakes: string[]): string[] {
  const known = new Set(settingNames);
  const warnings: string[] = [];
  const serviceLinks: string[] = [];
  for (const [variable, value = ''] of Object.entries(env)) {
    if (!variable.startsWith(settingPrefix)) continue;
    const name = variable.slice(settingPrefix.length);
    if (isServiceLink(variable, value)) serviceLinks.push(variable);
    else if (!known.has(name)) mistakes.push(notASetting(variable, name));
  }
  if (serviceLinks.length > 0) warnings.push(ignoredLinks(serviceLinks));
  return warnings;
}

/** The endings that Kubernetes appends to the name of a service; see `isServiceLink`. */
const serviceLink = /_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

/**
 * True for a variable that Kubernetes adds to every pod beside a service named `gateway` or `gateway-…`. For `gateway-admin`
 * these are GATEWAY_ADMIN_SERVICE_HOST, GATEWAY_ADMIN_SERVICE_PORT_HTTP, GATEWAY_ADMIN_PORT_8081_TCP_ADDR and the like.
 * GATEWAY_ADMIN_PORT=tcp://10.0.0.7:8081 has the name of a setting; only its value shows that it is a link.
 */
export function isServiceLink(variable: string, value: string): boolean {
  return serviceLink.test(variable) || (variable.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value));
}

function ignoredLinks(variables: string[]): string {
  const listed = variables.slice(0, mostListed).join(', ');
  const more = variables.length > mostListed ? ` and ${variables.length - mostListed} more` : '';
  return `${listed}${more}: ignored, as Kubernetes service links (enableServiceLinks: false in the pod keeps them away).`;
}

function notASetting(variable: string, name: string): string {
  const nearest = nearestSetting(name.toUpperCase());
  const hint = nearest === undefined ? 'docs/configuration.md lists them all.' : `is ${settingPrefix}${nearest} meant?`;
  return `${variable} is not a setting; ${hint}`;
}

/** The setting with the fewest edits from `name`; undefined if that is more than a third of the longer name. */
function nearestSetting(name: string): string | undefined {
  let [nearest, fewest]: [string | undefined, number] = [undefined, Number.POSITIVE_INFINITY];
  for (const setting of settingNames) {
    const edits = editsBetween(name, setting);
    if (edits >= fewest || 3 * edits > Math.max(name.length, setting.length)) continue;
    [nearest, fewest] = [setting, edits];
  }
  return nearest;
}

/** Edit distance: letters inserted, removed, changed, or swapped with the next one (optimal string alignment). */
function editsBetween(one: string, other: string): number {
  let [beforeLast, last]: [number[], number[]] = [[], Array.from({ length: other.length + 1 }, (_, index) => index)];
  for (let row = 1; row <= one.length; row++) {
    const current = [row];
    for (let column = 1; column <= other.length; column++) {
      const same = one[row - 1] === other[column - 1];
      const swapped = row > 1 && column > 1 && one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      current[column] = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (same ? 0 : 1),
        swapped ? (beforeLast[column - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    [beforeLast, last] = [last, current];
  }
  return last[other.length] ?? 0;
}
