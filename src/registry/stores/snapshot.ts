import { rm } from "node:fs/promises";
import { join } from "node:path";
import { decodeRecord, encodeRecord, type CatalogueEvent } from "../events.ts";
import { writeAll, writeDurably } from "./durable-files.ts";
import { frame, type Frames } from "./frame.ts";
import { FORMAT } from "./journal.ts";

const NAME = /^snapshot-(\d{16})\.log$/;
// One slice of the event loop: about a millisecond of JSON.
const SLICE = 50;

/** `snapshot-0000000000000041.log` holds what records 1 to 41 led to. */
export function snapshotName(seq: number): string {
  return `snapshot-${String(seq).padStart(16, "0")}.log`;
}

export function snapshotSeq(name: string): number | undefined {
  const digits = NAME.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Writes a snapshot in slices, so that the node goes on serving. The events must not change meanwhile; they are values. */
export async function writeSnapshot(folder: string, seq: number, events: readonly CatalogueEvent[]): Promise<number> {
  const path = join(folder, snapshotName(seq));
  let length = 0;
  await writeDurably(path, 0o600, async (handle) => {
    const put = async (json: string): Promise<void> => {
      const data = Buffer.from(frame(json));
      await writeAll(handle, data, length);
      length += data.length;
    };
    await put(JSON.stringify({ flycast: "snapshot", format: FORMAT, seq }));
    for (let i = 0; i < events.length; i += SLICE) {
      await put(encodeRecord({ seq, events: events.slice(i, i + SLICE) }));
    }
    // Without this line the file is not whole.
    await put(JSON.stringify({ end: events.length }));
  });
  return length;
}

/** The events of a snapshot, or undefined when the file is damaged. @throws DecodeError for what another version wrote. */
export function readSnapshot({ good, damage }: Frames): readonly CatalogueEvent[] | undefined {
  if (damage !== "none" || good.length < 2) return undefined;
  const events = good.slice(1, -1).flatMap(({ json }) => decodeRecord(json).events);
  return good.at(-1)?.json === JSON.stringify({ end: events.length }) ? events : undefined;
}

export async function removeFile(folder: string, name: string): Promise<void> {
  await rm(join(folder, name), { force: true });
}
