/**
 * Errors by which a server of Redis Cluster says that a key or a channel is not its own, or that it cannot serve now. Pure.
 *
 * After each of them Redis certainly has executed nothing of the command, or of the message in a script. Where the key is by
 * now is gateway/redis/cluster/topology.ts.
 */

/**
 * Of a command: MOVED, ASK and TRYAGAIN while its slot moves; CLUSTERDOWN while too few primaries are there. Of a command in a
 * script, where Redis has sentences instead of codes (script.c).
 */
const redirects = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b|non local key|while the cluster is down/;

/** `error`: of a command, or a BackplaneError that was caused by one. */
export function isRedirect({ message, cause }: Error): boolean {
  return redirects.test(message) || (cause instanceof Error && redirects.test(cause.message));
}
