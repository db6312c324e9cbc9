import { open, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { AppError } from "../../core/errors.ts";

/** Makes new names in a folder, and renames in it, survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A file that appears whole or not at all: written beside its place, synced, renamed; then the folder is synced. */
export async function writeFileDurably(path: string, content: string | Buffer, mode: number): Promise<void> {
  await writeDurably(path, mode, (handle) => writeAll(handle, Buffer.from(content), 0));
}

/** Like `writeFileDurably`, for content that is made while it is written. */
export async function writeDurably(
  path: string,
  mode: number,
  write: (handle: FileHandle) => Promise<void>,
): Promise<void> {
  const temporary = `${path}.tmp`;
  await rm(temporary, { force: true });
  const handle = await open(temporary, "wx", mode);
  try {
    await write(handle);
    await handle.sync();
  } catch (thrown) {
    await handle.close();
    await rm(temporary, { force: true }).catch(() => undefined);
    throw thrown;
  }
  await handle.close();
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

/** Writes every byte at `position`: a single write may stop halfway. */
export async function writeAll(handle: FileHandle, data: Buffer, position: number): Promise<void> {
  let done = 0;
  while (done < data.length) {
    const { bytesWritten } = await handle.write(data, done, data.length - done, position + done);
    if (bytesWritten === 0) throw new Error("the disk takes no more bytes");
    done += bytesWritten;
  }
}

/** The system's error code of something that was thrown, such as `ENOENT`. */
export function systemCode(thrown: unknown): string | undefined {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : undefined;
}

/** What went wrong with a file, with a code that says whose turn it is. */
export function fileError(what: string, thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const code = systemCode(thrown);
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  const denied = code === "EACCES" || code === "EPERM" || code === "EROFS";
  return new AppError(denied ? "no_privilege" : "internal", `${what}: ${why}`, {
    cause: thrown,
    details: denied ? { next: "the same as the user to whom the folder belongs, or with another --state-dir" } : {},
  });
}
