/** A promise that is settled from outside. `Promise.withResolvers` of Node 22 is missing on Node 20. */
export interface Deferred {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: unknown): void;
}

/** Nobody has to wait for it: a rejection without a listener does not end the process. */
export function deferred(): Deferred {
  let settle: Pick<Deferred, 'resolve' | 'reject'> | undefined;
  const promise = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  promise.catch(() => undefined);
  // The executor of a promise runs within its constructor.
  return { promise, ...(settle as unknown as Pick<Deferred, 'resolve' | 'reject'>) };
}
