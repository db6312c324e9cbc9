import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Ip6 } from "../core/ids.ts";

/** The published ports of the last run, so that a bookmark stays good. A hint: losing it costs nothing, so no fsync. */
export class PortMemory {
  readonly ports: Map<string, number>;
  readonly #file: string;

  private constructor(file: string, ports: Map<string, number>) {
    this.#file = file;
    this.ports = ports;
  }

  static async open(stateDir: string): Promise<PortMemory> {
    const file = join(stateDir, "published.json");
    try {
      const value: unknown = JSON.parse(await readFile(file, "utf8"));
      const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
      return new PortMemory(
        file,
        new Map(entries.filter((entry): entry is [string, number] => typeof entry[1] === "number")),
      );
    } catch {
      return new PortMemory(file, new Map());
    }
  }

  async remember(
    published: readonly { readonly address: Ip6; readonly port: number; readonly hostPort: number }[],
  ): Promise<void> {
    this.ports.clear();
    for (const { address, port, hostPort } of published) this.ports.set(`${address} ${port}`, hostPort);
    try {
      await writeFile(`${this.#file}.new`, JSON.stringify(Object.fromEntries(this.ports)), { mode: 0o600 });
      await rename(`${this.#file}.new`, this.#file);
    } catch {
      // A full disk must not end a node that serves.
    }
  }
}
