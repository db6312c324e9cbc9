/**
 * Tells when the client has gone. The part of an AbortSignal that the phases use, so that one fits; one is made for each
 * connection, where an AbortController costs as much as the rest of its bookkeeping.
 */
export type Departure = Pick<AbortSignal, "aborted" | "reason"> & {
  addEventListener(type: "abort", callback: () => void): void;
  removeEventListener(type: "abort", callback: () => void): void;
};

export class DepartureController implements Departure {
  aborted = false;
  reason: unknown;
  #callbacks: Set<() => void> | undefined;

  addEventListener(_type: "abort", callback: () => void): void {
    (this.#callbacks ??= new Set()).add(callback);
  }

  removeEventListener(_type: "abort", callback: () => void): void {
    this.#callbacks?.delete(callback);
  }

  /** The first reason counts. */
  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    for (const callback of this.#callbacks ?? []) callback();
  }
}
