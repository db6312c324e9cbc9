import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir } from "node:fs/promises";
import { createInterface } from "node:readline";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { AppError } from "../../src/core/errors.ts";
import { lockFolder, type FolderLock } from "../../src/registry/stores/lock.ts";
import { compileModule } from "./compile.ts";
import { openRegistry, temporaryFolder } from "./support.ts";

const CHILD = fileURLToPath(new URL("child.mjs", import.meta.url));

let compiled: ReturnType<typeof compileModule>;
beforeAll(() => {
  compiled = compileModule("src/registry/stores/file.ts");
});
afterAll(() => compiled.remove());

/** A process that tries to hold the registry. */
async function holder(dir: string): Promise<{ readonly child: ChildProcess; readonly said: Record<string, unknown> }> {
  const child = spawn(process.execPath, [CHILD, compiled.url, dir, "hold"], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const [line] = (await once(createInterface(child.stdout!), "line")) as [string];
  return { child, said: JSON.parse(line) as Record<string, unknown> };
}

const options = (name: string) => ({ name, now: "2026-01-01T00:00:00.000Z", what: "the folder" });

describe("the lock of a state folder", () => {
  test("a second opener is refused and told who holds it, until the holder closes", async () => {
    const dir = await temporaryFolder();
    const { registry } = await openRegistry(dir);
    await expect(openRegistry(dir)).rejects.toMatchObject({
      code: "state_locked",
      message: expect.stringContaining(`process ${process.pid} `) as string,
    });
    await registry.close();
    await openRegistry(dir);
  });

  test("another process is refused too, and a kill -9 of the holder sets the folder free at once", async () => {
    const dir = await temporaryFolder();
    const first = await holder(dir);
    expect(first.said).toEqual({ open: first.child.pid });
    const second = await holder(dir);
    expect(second.said).toMatchObject({ refused: "state_locked" });
    expect(second.said["message"]).toContain(`process ${first.child.pid} `);
    first.child.kill("SIGKILL");
    await once(first.child, "exit");
    const third = await holder(dir);
    expect(third.said).toEqual({ open: third.child.pid });
  });

  test("a holder that stands still holds on", async () => {
    const dir = await temporaryFolder();
    const first = await holder(dir);
    first.child.kill("SIGSTOP");
    await expect(openRegistry(dir)).rejects.toMatchObject({ code: "state_locked" });
    first.child.kill("SIGCONT");
  });

  test("of many that try at once, exactly one gets in, again and again", async () => {
    const dir = await temporaryFolder();
    for (let round = 0; round < 25; round++) {
      const tries = await Promise.allSettled(
        Array.from({ length: 12 }, (_, i) => lockFolder(dir, options(`${(i * 7 + round) % 12}-${round}`))),
      );
      const got = tries.filter((one): one is PromiseFulfilledResult<FolderLock> => one.status === "fulfilled");
      expect(got).toHaveLength(1);
      for (const one of tries) {
        if (one.status === "rejected") expect((one.reason as AppError).code).toBe("state_locked");
      }
      await got[0]?.value.release();
      expect(await readdir(dir)).toEqual([]);
    }
  });

  test("of many processes that find the socket of a dead one, exactly one gets in", async () => {
    const dir = await temporaryFolder();
    const dead = await holder(dir);
    dead.child.kill("SIGKILL");
    await once(dead.child, "exit");
    const all = await Promise.all(Array.from({ length: 6 }, () => holder(dir)));
    expect(all.filter(({ said }) => "open" in said)).toHaveLength(1);
    expect(all.filter(({ said }) => said["refused"] === "state_locked")).toHaveLength(5);
  });

  test("a folder deeper than a socket's path may be long is locked like any other", async () => {
    const dir = join(await temporaryFolder(), ...Array.from({ length: 12 }, (_, i) => `a-rather-long-name-${i}`));
    await mkdir(dir, { recursive: true });
    const lock = await lockFolder(dir, options("a"));
    await expect(lockFolder(dir, options("b"))).rejects.toMatchObject({ code: "state_locked" });
    await lock.release();
    await (await lockFolder(dir, options("b"))).release();
  });

  test("whoever answers nonsense lives, and that is what counts", async () => {
    const dir = await temporaryFolder();
    const server = createServer((socket) => socket.end("hello\n"));
    await new Promise<void>((resolve) => server.listen(join(dir, "x.sock"), resolve));
    onTestFinished(() => void server.close());
    await expect(lockFolder(dir, options("a"))).rejects.toMatchObject({ code: "state_locked" });
  });
});
