import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseMachineId, type MachineId } from "../../core/ids.ts";
import type { Link } from "./guard.ts";
import { Namespace } from "./namespace.ts";
import { wireExists } from "./wires.ts";

/** A place as the next life of the node finds it (host mode). */
export interface PlaceRecord {
  readonly id: MachineId;
  readonly link: Link;
  readonly folder: string;
  /** `net:[INODE]` of the Machine's network namespace. */
  readonly space: string;
}

/** Small files in `/run`, which ends when the computer restarts, as the namespaces do. */
export class PlaceRecords {
  readonly #folder: string;

  constructor(places: string) {
    this.#folder = join(places, "records");
  }

  async write(record: PlaceRecord): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const path = join(this.#folder, `${record.id}.json`);
    await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  async remove(id: MachineId): Promise<void> {
    await rm(join(this.#folder, `${id}.json`), { force: true });
  }

  /**
   * Those whose namespace is still there, with it; the records of the others are removed. `present`: whether our end of
   * the wire is there, for somebody who looks from elsewhere.
   */
  async recover(
    present: (link: Link) => boolean = wireExists,
  ): Promise<readonly (PlaceRecord & { readonly namespace: Namespace })[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const found = await Promise.all(names.map((name) => this.#recoverOne(name, present)));
    return found.filter((one) => one !== undefined);
  }

  async #recoverOne(
    name: string,
    present: (link: Link) => boolean,
  ): Promise<(PlaceRecord & { readonly namespace: Namespace }) | undefined> {
    const path = join(this.#folder, name);
    const record = parseRecord(await readFile(path, "utf8").catch(() => ""));
    // As long as our end of the wire is there, the namespace is, and its inode means nothing else.
    const namespace = record !== undefined && present(record.link) ? Namespace.find(record.space) : undefined;
    if (record !== undefined && namespace !== undefined) return { ...record, namespace };
    await rm(path, { force: true });
    if (record !== undefined) await rm(record.folder, { recursive: true, force: true });
    return undefined;
  }
}

/** Our own writing, but a file may be half-written or of another version. */
function parseRecord(text: string): PlaceRecord | undefined {
  try {
    const record = JSON.parse(text) as Partial<PlaceRecord>;
    const whole = parseMachineId(record.id ?? "").ok && record.link?.ours && record.link.address && record.folder;
    return whole && typeof record.space === "string" ? (record as PlaceRecord) : undefined;
  } catch {
    return undefined;
  }
}
