import { appendFile, chmod, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Registry } from "../../src/registry/commands.ts";
import { frame } from "../../src/registry/stores/frame.ts";
import { ensureHost, readToken } from "../../src/registry/stores/state-folder.ts";
import { contentsOf } from "./store.contract.ts";
import { appName, defaultNetwork, iad, machineConfig, openRegistry, personal, temporaryFolder } from "./support.ts";

const APPS = ["one", "two", "three", "four"];

async function makeApps(registry: Registry, names: readonly string[] = APPS): Promise<void> {
  for (const name of names) {
    await registry.commands.createApp({ name: appName(name), org: personal, network: defaultNetwork });
  }
}

function appNames(registry: Registry): string[] {
  return [...registry.view.apps()].map(({ name }) => name as string);
}

/** A state folder with one journal: header, `personal`, and one record for each of APPS. */
async function written(): Promise<{ dir: string; folder: string; journal: string; file: Buffer }> {
  const dir = await temporaryFolder();
  const { registry } = await openRegistry(dir);
  await makeApps(registry);
  await registry.close();
  const folder = join(dir, "catalogue");
  const [name] = await readdir(folder);
  const journal = join(folder, name!);
  return { dir, folder, journal, file: await readFile(journal) };
}

/** Where line `n` of the file begins. */
function lineStart(file: Buffer, n: number): number {
  let at = 0;
  for (let i = 0; i < n; i++) at = file.indexOf(10, at) + 1;
  return at;
}

describe("a damaged journal", () => {
  const third = 4; // line of "three": header, personal, one, two, three, four
  const cases: readonly [string, (file: Buffer) => Buffer, readonly string[], "unfinished" | "damaged"][] = [
    ["that was cut in its last record", (f) => f.subarray(0, f.length - 5), ["one", "two", "three"], "unfinished"],
    ["that lost its last line feed", (f) => f.subarray(0, f.length - 1), ["one", "two", "three"], "unfinished"],
    [
      "that ends in half a record",
      (f) => Buffer.concat([f, f.subarray(lineStart(f, 5), f.length - 9)]),
      APPS,
      "unfinished",
    ],
    ["that ends in zeros", (f) => Buffer.concat([f, Buffer.alloc(4096)]), APPS, "unfinished"],
    [
      "that ends in zeros and a line feed",
      (f) => Buffer.concat([f, Buffer.alloc(99), Buffer.from("\n")]),
      APPS,
      "damaged",
    ],
    [
      "that ends in random bytes",
      (f) => Buffer.concat([f, Buffer.from("\xff\xfe\n\n\x00", "latin1")]),
      APPS,
      "damaged",
    ],
    ["with one bit turned in a record", (f) => flip(f, lineStart(f, third) + 30), ["one", "two"], "damaged"],
    ["with one bit turned in a checksum", (f) => flip(f, lineStart(f, third)), ["one", "two"], "damaged"],
    ["with a line feed turned", (f) => flip(f, lineStart(f, third) - 1), ["one"], "damaged"],
    ["with a hole of zeros", (f) => hole(f, lineStart(f, third) + 3, 40), ["one", "two"], "damaged"],
  ];

  for (const [what, damage, expected, kind] of cases) {
    test(`${what} is read up to the last good record, says so, keeps the rest aside and goes on`, async () => {
      const { dir, folder, journal, file } = await written();
      const broken = damage(Buffer.from(file));
      await writeFile(journal, broken);
      const first = await openRegistry(dir);
      expect(appNames(first.registry)).toEqual(expected);
      expect(first.notices.join("\n")).toMatch(kind === "unfinished" ? /unfinished record/ : /is damaged/);
      const aside = (await readdir(folder)).filter(
        (name) => name.startsWith("damaged-") || name === "unfinished-record",
      );
      expect(aside).toHaveLength(1);
      const kept = await readFile(join(folder, aside[0]!));
      expect(broken.subarray(broken.length - kept.length).equals(kept)).toBe(true);
      await makeApps(first.registry, ["after"]);
      await first.registry.close();
      const second = await openRegistry(dir);
      expect(second.notices).toEqual([]);
      expect(appNames(second.registry)).toEqual([...expected, "after"]);
    });
  }

  test("cut at any byte at all, it opens with a prefix of what was written", async () => {
    const { dir, journal, file } = await written();
    for (let length = 0; length < file.length; length += 37) {
      await writeFile(journal, file);
      await truncate(journal, length);
      const { registry } = await openRegistry(dir);
      const names = appNames(registry);
      expect(APPS.slice(0, names.length)).toEqual(names);
      await registry.close();
      await rm(join(dir, "catalogue"), { recursive: true });
      await mkdir(join(dir, "catalogue"));
    }
  });
});

describe("a state folder of another version", () => {
  test("is refused when its journal is newer, and stays as it was", async () => {
    const { dir, folder, journal } = await written();
    await writeFile(
      journal,
      frame(JSON.stringify({ flycast: "journal", format: 2, from: 1 })) + "what only they know\n",
    );
    const before = await readFile(journal);
    await expect(openRegistry(dir)).rejects.toMatchObject({ code: "state_newer" });
    expect(await readFile(journal)).toEqual(before);
    expect(await readdir(folder)).toHaveLength(1);
  });

  test("is refused when a whole record holds what this version does not know", async () => {
    for (const events of [
      [{ kind: "teapot" }],
      [{ kind: "token-gone", id: "x", more: 1 }],
      [{ kind: "app-gone", name: "Not A Name" }],
      [{ kind: "__proto__" }],
    ]) {
      const { dir, journal } = await written();
      await appendFile(journal, frame(JSON.stringify({ seq: 6, events })));
      await expect(openRegistry(dir)).rejects.toMatchObject({ code: "state_newer" });
      // The refusal lets go of the folder.
      await writeFile(journal, (await readFile(journal)).subarray(0, -1));
      await openRegistry(dir);
    }
  });

  test("is refused as damaged when records are missing in the middle", async () => {
    const { dir, journal } = await written();
    await appendFile(journal, frame(JSON.stringify({ seq: 9, events: [] })));
    await expect(openRegistry(dir)).rejects.toMatchObject({ code: "state_damaged" });
  });
});

describe("snapshots", () => {
  async function withSnapshots(): Promise<{ dir: string; folder: string; contents: unknown }> {
    const dir = await temporaryFolder();
    const { registry } = await openRegistry(dir, { snapshotAfter: 3000 });
    await makeApps(registry);
    const home = registry.view.networkNamed(personal, defaultNetwork)!.id;
    for (let i = 0; i < 60; i++) {
      const { address } = await registry.commands.allocateAddress(appName("one"), home);
      if (i % 2 === 0) await registry.commands.releaseAddress(appName("one"), address);
    }
    await registry.commands.createMachine({ app: appName("one"), region: iad, config: machineConfig() });
    const contents = contentsOf(registry.view);
    await registry.close();
    return { dir, folder: join(dir, "catalogue"), contents };
  }

  const snapshotsIn = async (folder: string) =>
    (await readdir(folder)).filter((name) => name.startsWith("snapshot-")).toSorted();

  test("take the place of old journals, two at most are kept, and the state is the same", async () => {
    const { dir, folder, contents } = await withSnapshots();
    expect((await snapshotsIn(folder)).length).toBe(2);
    expect((await readdir(folder)).length).toBeLessThan(10);
    const { registry, notices } = await openRegistry(dir);
    expect(notices).toEqual([]);
    expect(contentsOf(registry.view)).toEqual(contents);
    const home = registry.view.networkNamed(personal, defaultNetwork)!.id;
    expect((await registry.commands.allocateAddress(appName("one"), home)).address).toMatch(/::3d$/);
  });

  test.each([
    ["a bit of it turned", (path: string, file: Buffer) => writeFile(path, flip(file, file.length >> 1))],
    ["it is cut between two records", (path: string, file: Buffer) => truncate(path, lineStart(file, 2))],
    ["it is empty", (path: string) => truncate(path, 0)],
  ])("the one before and the journals stand in for the newest when %s", async (_, damage) => {
    const { dir, folder, contents } = await withSnapshots();
    const newest = join(folder, (await snapshotsIn(folder)).at(-1)!);
    await damage(newest, await readFile(newest));
    const { registry, notices } = await openRegistry(dir);
    expect(notices.join()).toMatch(/snapshot-\d+\.log .*is damaged/);
    expect(contentsOf(registry.view)).toEqual(contents);
  });

  test("nothing is made up when no snapshot is whole and the first journals are gone", async () => {
    const { dir, folder } = await withSnapshots();
    for (const name of await snapshotsIn(folder)) await truncate(join(folder, name), 0);
    await expect(openRegistry(dir)).rejects.toMatchObject({ code: "state_damaged" });
  });
});

describe("a state folder", () => {
  test("is closed to others, holds a token nobody else can read, and stays out of repositories", async () => {
    const dir = join(await temporaryFolder(), "deep", "state");
    await openRegistry(dir);
    const mode = async (name: string) => (await stat(join(dir, name))).mode & 0o777;
    expect(await mode(".")).toBe(0o700);
    expect(await mode("token")).toBe(0o600);
    expect(await mode("keys")).toBe(0o700);
    expect(await mode("catalogue")).toBe(0o700);
    for (const name of await readdir(join(dir, "catalogue"))) expect(await mode(`catalogue/${name}`)).toBe(0o600);
    expect(await readFile(join(dir, ".gitignore"), "utf8")).toBe("*\n");
    expect(await readToken(dir)).toMatch(/^fct_[A-Za-z0-9_-]{43}$/);
  });

  test("keeps its token and its host id, and makes a new token when it was removed", async () => {
    const dir = await temporaryFolder();
    const first = await openRegistry(dir);
    const token = await readToken(dir);
    await first.registry.close();
    const second = await openRegistry(dir);
    expect(second.registry.host).toBe(first.registry.host);
    expect(await readToken(dir)).toBe(token);
    await second.registry.close();
    await rm(join(dir, "token"));
    await openRegistry(dir);
    expect(await readToken(dir)).not.toBe(token);
  });

  test("that was open to others is closed", async () => {
    const dir = await temporaryFolder();
    await chmod(dir, 0o755);
    await openRegistry(dir);
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
  });

  test("without a token tells that no node has run there", async () => {
    await expect(readToken(await temporaryFolder())).rejects.toMatchObject({ code: "not_found" });
  });

  test("that cannot be made is refused with the reason", async () => {
    const file = join(await temporaryFolder(), "file");
    await writeFile(file, "");
    await expect(openRegistry(join(file, "state"))).rejects.toMatchObject({
      message: expect.stringContaining("cannot be used: ENOTDIR") as string,
    });
  });

  test("draws host ids that cannot be taken for Flycast, DNS or peer addresses", async () => {
    const dir = await temporaryFolder();
    const draws = [0, 1, 0xffff, 0x0a7b_0000, 0x0a7b_ffff, 0x0a7c_0001];
    const host = await ensureHost(dir, (n) => {
      const bytes = Buffer.alloc(n);
      bytes.writeUInt32BE(draws.shift()!);
      return bytes;
    });
    expect(host).toBe(0x0a7c_0001);
    expect(draws).toEqual([]);
    await expect(openRegistry(dir, { host: 1 as never })).rejects.toMatchObject({ code: "invalid" });
  });
});

function flip(file: Buffer, at: number): Buffer {
  file[at] = file[at]! ^ 1;
  return file;
}

function hole(file: Buffer, at: number, length: number): Buffer {
  file.fill(0, at, at + length);
  return file;
}
