/**
 * What a browser tells a page about the network and about the page itself. Elsewhere it tells nothing.
 *
 * Owns its listeners, until the function that it returns is called.
 */
interface Target {
  addEventListener?(name: string, listener: () => void): void;
  removeEventListener?(name: string, listener: () => void): void;
}

/**
 * `doubt` is called when lines may have died unnoticed: the network went or came, the page was frozen, hidden or kept in the
 * back-forward cache. `back` is called, after it, when the network or the page is back.
 */
export function watchPage(doubt: () => void, back: () => void): () => void {
  const page: Target = globalThis as Target;
  const { document } = globalThis as { document?: Target & { visibilityState: string } };
  const returned = () => {
    doubt();
    back();
  };
  const seen = () => {
    if (document?.visibilityState === 'visible') returned();
  };
  const watched: [Target | undefined, string, () => void][] = [
    [page, 'online', returned],
    [page, 'offline', doubt],
    [page, 'pageshow', returned],
    [document, 'visibilitychange', seen],
    [document, 'resume', returned],
  ];
  for (const [target, name, listener] of watched) target?.addEventListener?.(name, listener);
  return () => {
    for (const [target, name, listener] of watched) target?.removeEventListener?.(name, listener);
  };
}
