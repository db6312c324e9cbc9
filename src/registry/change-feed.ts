import type { ChangeFeed, RegistryChange, Unsubscribe } from "./view.ts";

/** Tells every listener of every change, in order. */
export class Feed implements ChangeFeed {
  readonly #listeners = new Set<(change: RegistryChange) => void>();
  readonly #onNotice: (message: string) => void;

  constructor(onNotice: (message: string) => void) {
    this.#onNotice = onNotice;
  }

  subscribe(listener: (change: RegistryChange) => void): Unsubscribe {
    // Wrapped, so that the same function may subscribe twice and each subscription ends by itself.
    const entry = (change: RegistryChange): void => listener(change);
    this.#listeners.add(entry);
    return () => {
      this.#listeners.delete(entry);
    };
  }

  send(change: RegistryChange): void {
    // A copy: a listener may subscribe or unsubscribe while it is called.
    const listeners = [...this.#listeners];
    for (const listener of listeners) {
      if (!this.#listeners.has(listener)) continue;
      try {
        listener(change);
      } catch (thrown) {
        const what = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
        this.#onNotice(`a listener of registry changes failed at "${change.kind}": ${what}`);
      }
    }
  }
}
