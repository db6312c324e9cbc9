import type { AppName, MachineId } from "../../core/ids.ts";

/** Which Machine issued a session's cancel key, for as long as the session lasts. */
export class SessionKeys {
  readonly #issuers = new Map<string, MachineId>();

  /** Gives back what forgets the key. */
  add(app: AppName, key: Buffer, machine: MachineId): () => void {
    const id = idOf(app, key);
    this.#issuers.set(id, machine);
    return () => {
      // Two Machines may have issued the same key, a process id and 32 random bits.
      if (this.#issuers.get(id) === machine) this.#issuers.delete(id);
    };
  }

  issuer(app: AppName, key: Buffer): MachineId | undefined {
    return this.#issuers.get(idOf(app, key));
  }
}

function idOf(app: AppName, key: Buffer): string {
  return `${app} ${key.toString("base64")}`;
}
