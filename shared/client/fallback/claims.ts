/**
 * What a client can know of its own token: whom it is for, and how long. Pure functions.
 *
 * A gateway tells this in `welcome`; by HTTP nobody does. Nothing is verified here: a token that lies harms nobody else.
 */
export interface Claims {
  /** Undefined: unknown. */
  user: string | undefined;
  /** Undefined: unknown. */
  lastsMs: number | undefined;
}

/**
 * `lastsMs` is from now on. The clock of this machine may be wrong, so a token never lasts longer than from its `iat` to its
 * `exp`, and one that this clock calls over is taken as new: the gateway says if it is not.
 */
export function claimsOf(token: string | undefined, now: number): Claims {
  const { sub, exp, iat } = payloadOf(token);
  const user = typeof sub === 'string' ? sub : undefined;
  if (typeof exp !== 'number') return { user, lastsMs: undefined };
  const leftMs = exp * 1000 - now;
  const wholeMs = typeof iat === 'number' && iat < exp ? (exp - iat) * 1000 : Number.POSITIVE_INFINITY;
  if (leftMs > 0) return { user, lastsMs: Math.min(leftMs, wholeMs) };
  return { user, lastsMs: Number.isFinite(wholeMs) ? wholeMs : undefined };
}

function payloadOf(token = ''): { sub?: unknown; exp?: unknown; iat?: unknown } {
  const [, payload = ''] = token.split('.');
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    // An opaque token, for instance behind a proxy that translates it: nothing is known of it.
    return {};
  }
}
