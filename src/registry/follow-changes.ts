import type { ChangeFeed, RegistryChange } from "./view.ts";

const QUIET: ReadonlySet<RegistryChange["kind"]> = new Set(["status", "token"]);

/**
 * Calls back after the catalogue changed: once for many changes of the same moment, and never while the last call still runs.
 * Running state does not count. A rejection goes to `onFailure`, and the next change is followed all the same.
 */
export function followChanges(
  changes: ChangeFeed,
  follow: () => Promise<void>,
  onFailure: (thrown: unknown) => void,
): () => void {
  let running: Promise<void> = Promise.resolve();
  let scheduled = false;
  return changes.subscribe((change) => {
    if (scheduled || QUIET.has(change.kind)) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      running = running.then(follow).catch(onFailure);
    });
  });
}
