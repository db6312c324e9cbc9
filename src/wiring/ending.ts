/** What has been made, to be ended in reverse: each part may use those before it until its own end. */
export class Ending {
  readonly #ends: (() => Promise<unknown> | void)[] = [];
  readonly #onFailure: (thrown: unknown) => void;

  constructor(onFailure: (thrown: unknown) => void) {
    this.#onFailure = onFailure;
  }

  push(end: () => Promise<unknown> | void): void {
    this.#ends.push(end);
  }

  /** All of them, whatever fails on the way. */
  async endAll(): Promise<void> {
    for (const end of this.#ends.splice(0).toReversed()) {
      await Promise.resolve()
        .then(end)
        .catch((thrown: unknown) => this.#onFailure(thrown));
    }
  }
}
