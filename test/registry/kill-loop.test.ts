import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { AppName, Ip6, MachineId } from "../../src/core/ids.ts";
import type { Registry } from "../../src/registry/commands.ts";
import { compileModule } from "./compile.ts";
import { openFileRegistry } from "../../src/registry/stores/file.ts";

const KILLS = Number(process.env["FLYCAST_KILLS"] ?? 200);
const LANES = 2;
const WRITER = fileURLToPath(new URL("kill-writer.mjs", import.meta.url));

type Kind = "app" | "address" | "machine";
interface Line {
  readonly open?: number;
  readonly notice?: string;
  readonly kind?: Kind;
  readonly key?: string;
  readonly value?: unknown;
  readonly begin?: boolean;
  readonly gone?: boolean;
}

/** What a reader of the acknowledgements knows for sure. `unsure`: a change was begun and not acknowledged. */
class Acknowledged {
  readonly #known = new Map<string, { readonly value: unknown } | "gone" | "unsure">();
  readonly #addressesEver = new Set<string>();
  count = 0;

  take(line: Line): void {
    if (line.kind === undefined || line.key === undefined) return;
    const key = `${line.kind} ${line.key}`;
    if (line.begin === true) this.#known.set(key, "unsure");
    else if (line.gone === true) this.#known.set(key, "gone");
    else {
      if (line.kind === "address") {
        expect(this.#addressesEver.has(line.key), `${line.key} was given twice`).toBe(false);
        this.#addressesEver.add(line.key);
      }
      this.#known.set(key, { value: line.value });
    }
    if (line.begin !== true) this.count++;
  }

  check(registry: Registry): void {
    // Compared without `expect`, which would take longer than all the rest for so many values.
    for (const [key, expected] of this.#known) {
      if (expected === "unsure") continue;
      const [kind, name] = key.split(" ") as [Kind, string];
      const found = read(registry, kind, name);
      if (expected === "gone") {
        if (found !== undefined) throw new Error(`${key} came back`);
      } else if (!isDeepStrictEqual(JSON.parse(JSON.stringify(found ?? null)), expected.value)) {
        throw new Error(`${key} is not what was acknowledged: ${JSON.stringify(found)}`);
      }
    }
  }
}

function read(registry: Registry, kind: Kind, name: string): unknown {
  switch (kind) {
    case "app":
      return registry.view.app(name as AppName);
    case "address":
      return registry.view.addressAt(name as Ip6);
    case "machine":
      return registry.view.machine(name as MachineId);
  }
}

/** Lets the writer write for a random while, kills it, and gives all that it said before. */
async function oneLife(module: string, dir: string, snapshotAfter: number): Promise<readonly Line[]> {
  const child = spawn(process.execPath, [WRITER, module, dir, String(snapshotAfter)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let errors = "";
  const killAfter = Math.floor(Math.random() ** 2 * 150);
  let lines = 0;
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
    lines += chunk.split("\n").length - 1;
    // By progress and not by time: a busy computer gets as many kills in the middle of writing as an idle one.
    if (lines > killAfter) child.kill("SIGKILL");
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    errors += chunk;
  });
  // Some die before they have opened at all.
  if (killAfter === 0) setTimeout(() => child.kill("SIGKILL"), Math.random() * 100);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on("close", (...end) => resolve(end));
  });
  expect({ code, signal, errors }).toEqual({ code: null, signal: "SIGKILL", errors: "" });
  const complete = output.slice(0, output.lastIndexOf("\n") + 1);
  return complete
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);
}

describe("promise 7: nothing acknowledged is lost", () => {
  let compiled: ReturnType<typeof compileModule>;
  beforeAll(() => {
    compiled = compileModule("src/registry/stores/file.ts");
  });
  afterAll(() => compiled.remove());

  test.concurrent.each(Array.from({ length: LANES }, (_, lane) => lane))(
    `kill -9 at a random moment of writing, ${Math.ceil(KILLS / LANES)} times over (%i)`,
    async (lane) => {
      const dir = await mkdtemp(join(tmpdir(), "flycast-test-"));
      const known = new Acknowledged();
      // One lane writes snapshots all the time, the other seldom.
      const snapshotAfter = lane % 2 === 0 ? 20_000 : 1_000_000;
      for (let life = 0; life < Math.ceil(KILLS / LANES); life++) {
        for (const line of await oneLife(compiled.url, dir, snapshotAfter)) {
          if (line.notice !== undefined) expect(line.notice).toContain("unfinished record");
          known.take(line);
        }
        const registry = await openFileRegistry({
          dir,
          clock: systemClock,
          random: (n) => randomBytes(n),
          onNotice: (notice) => expect(notice).toContain("unfinished record"),
          snapshotAfter,
        });
        known.check(registry);
        await registry.close();
      }
      expect(known.count).toBeGreaterThan(KILLS);
      // Dead processes leave neither locks nor half-written files behind for good. One that died before it showed itself
      // is swept by whoever opens a minute later: made old here.
      for (const entry of await readdir(join(dir, "lock"))) {
        expect(entry).toMatch(/^new-/);
        await utimes(join(dir, "lock", entry), 0, 0);
      }
      const last = await openFileRegistry({
        dir,
        clock: systemClock,
        random: (n) => randomBytes(n),
        onNotice: (notice) => expect.unreachable(notice),
        snapshotAfter,
      });
      await last.close();
      expect(await readdir(join(dir, "lock"))).toEqual([]);
      const files = await readdir(join(dir, "catalogue"));
      expect(files.filter((name) => name.startsWith("damaged") || name.endsWith(".tmp"))).toEqual([]);
      await rm(dir, { recursive: true });
    },
    300_000,
  );
});
