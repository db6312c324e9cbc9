import type { AppName } from "../core/ids.ts";

/** Who wants to know when a Machine of an app may be claimable again. Each callback is called once. */
export class AppChanges {
  readonly #callbacks = new Map<AppName, Set<() => void>>();
  readonly #onError: (error: unknown) => void;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  once(app: AppName, callback: () => void): () => void {
    let set = this.#callbacks.get(app);
    if (set === undefined) {
      set = new Set();
      this.#callbacks.set(app, set);
    }
    const waiting = set;
    waiting.add(callback);
    return () => {
      waiting.delete(callback);
      if (waiting.size === 0 && this.#callbacks.get(app) === waiting) this.#callbacks.delete(app);
    };
  }

  notify(app: AppName): void {
    const waiting = this.#callbacks.get(app);
    if (waiting === undefined) return;
    // Taken out first: whoever subscribes again while called wants the next change, not this one.
    this.#callbacks.delete(app);
    for (const callback of waiting) {
      try {
        callback();
      } catch (error) {
        this.#onError(error);
      }
    }
  }

  notifyAll(): void {
    // A copy: whoever subscribes again while called must not be called for ever.
    const apps = [...this.#callbacks.keys()];
    for (const app of apps) this.notify(app);
  }
}
