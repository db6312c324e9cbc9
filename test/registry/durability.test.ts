import { execFile, spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { MachineId } from "../../src/core/ids.ts";
import { compileModule } from "./compile.ts";
import { appName, openRegistry, temporaryFolder } from "./support.ts";

const run = promisify(execFile);
const CHILD = fileURLToPath(new URL("child.mjs", import.meta.url));
const canTrace = spawnSync("strace", ["-f", "true"]).status === 0;

let compiled: ReturnType<typeof compileModule>;
beforeAll(() => {
  compiled = compileModule("src/registry/stores/file.ts");
});
afterAll(() => compiled.remove());

describe("promise 7: acknowledged means on the disk", () => {
  test.skipIf(!canTrace && process.env["CI"] !== "true")(
    "the kernel is asked to write and to sync before the answer leaves (needs strace)",
    async () => {
      const dir = await temporaryFolder();
      const trace = join(dir, "trace");
      const syscalls = "trace=write,pwrite64,writev,pwritev,fsync,fdatasync,rename,unlink";
      const node = [process.execPath, CHILD, compiled.url, join(dir, "state"), "ack"];
      await run("strace", ["-f", "-y", "-s", "4096", "-e", syscalls, "-o", trace, ...node]);
      const lines = completedCalls(await readFile(trace, "utf8"));
      const wrote = lines.findIndex((line) => /write/.test(line) && /journal-/.test(line) && line.includes("durable"));
      const answered = lines.findIndex((line) => /write\(1/.test(line) && line.includes("acknowledged"));
      const synced = lines.findIndex(
        (line, at) => at > wrote && /f(data)?sync\(\d+<[^>]*journal-/.test(line) && line.endsWith(" = 0"),
      );
      expect(wrote).toBeGreaterThanOrEqual(0);
      expect(answered).toBeGreaterThan(wrote);
      expect(synced).toBeGreaterThan(wrote);
      expect(synced).toBeLessThan(answered);
    },
  );

  test("a full disk refuses what does not fit, shows nothing of it, and takes what fits", async () => {
    const dir = await temporaryFolder();
    const state = join(dir, "state");
    // Node ignores SIGXFSZ, so the limit looks like a full disk: write(2) fails.
    const script = 'ulimit -f 128; exec "$@"';
    const { stdout } = await run("bash", ["-c", script, "bash", process.execPath, CHILD, compiled.url, state, "fill"]);
    const said = JSON.parse(stdout) as { machines: string[]; refused: string; seen: string[]; small: string };
    expect(said.refused).toBe("internal");
    expect(said.machines.length).toBeGreaterThan(3);
    expect(said.seen.toSorted()).toEqual(said.machines.toSorted());
    expect(said.small).toBe("made");
    const { registry, notices } = await openRegistry(state);
    expect(notices).toEqual([]);
    expect([...registry.view.machines()].map(({ id }) => id as string).toSorted()).toEqual(said.machines.toSorted());
    for (const id of said.machines) expect(registry.view.machine(id as MachineId)).toBeDefined();
    expect(registry.view.app(appName("small"))).toBeDefined();
  });
});

/** System calls in the order in which they were finished. strace cuts those in two that others overlap. */
function completedCalls(trace: string): readonly string[] {
  const begun = new Map<string, string>();
  const calls: string[] = [];
  for (const line of trace.split("\n")) {
    const [, pid = "", rest = ""] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    if (rest.endsWith("<unfinished ...>")) begun.set(pid, rest.slice(0, -"<unfinished ...>".length));
    else if (rest.startsWith("<...")) calls.push((begun.get(pid) ?? "") + rest.replace(/^<\.\.\. \w+ resumed>/, ""));
    else calls.push(rest);
  }
  return calls;
}
