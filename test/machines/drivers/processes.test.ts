import { spawn } from "node:child_process";
import { once } from "node:events";
import { userInfo } from "node:os";
import { describe, expect, test } from "vitest";
import { launchChain } from "../../../src/machines/drivers/launch.ts";
import {
  bootId,
  familyOf,
  isSameProcess,
  listProcesses,
  parseStat,
  readProcess,
} from "../../../src/machines/drivers/processes.ts";
import { findUser } from "../../../src/machines/drivers/users.ts";

describe("looking at processes", () => {
  test("a process may be named anything", () => {
    const text = "77 (a) S 1) (b c) T 5 6 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1";
    expect(parseStat(77, text)).toEqual({ pid: 77, parent: 5, session: 7, state: "T", startTime: 123456 });
  });

  test.each(["", "77", "77 (x) S", "garbage"])("what is no stat line is no process: %j", (text) => {
    expect(parseStat(77, text)).toBeUndefined();
  });

  test.skipIf(process.platform !== "linux")("we find ourselves, and the dead no more", async () => {
    const self = readProcess(process.pid);
    expect(self).toMatchObject({ pid: process.pid, parent: process.ppid });
    expect(listProcesses().map((info) => info.pid)).toContain(process.pid);
    expect(bootId()).toMatch(/^[0-9a-f-]{36}$/);
    const child = spawn("sleep", ["1000"], { stdio: "ignore" });
    const info = readProcess(child.pid ?? 0);
    expect(isSameProcess(child.pid ?? 0, info?.startTime ?? 0)).toBe(true);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(isSameProcess(child.pid ?? 0, info?.startTime ?? 0)).toBe(false);
  });
});

describe("a Machine's family", () => {
  const info = (pid: number, parent: number, session: number, startTime: number) => ({
    pid,
    parent,
    session,
    startTime,
    state: "S",
  });
  // Pids above any real one, so that nothing can be read of them.
  const [main, child, grandchild, stranger] = [90_000_001, 90_000_002, 90_000_003, 90_000_004];
  const mark = { id: "00000000000abc", main, since: 50, output: "/none" };

  test("it is the session and all descendants", () => {
    const all = [info(grandchild, child, grandchild, 70), info(child, main, main, 60), info(main, 1, main, 50)];
    expect(familyOf(mark, [...all, info(stranger, 1, stranger, 60)])).toEqual(all);
  });

  test("a session goes on without its leader", () => {
    const orphan = info(child, 1, main, 60);
    expect(familyOf(mark, [orphan])).toEqual([orphan]);
  });

  test("a stranger who got the main process's pid is no member, nor is its session", () => {
    const all = [info(main, 1, main, 99), info(child, main, main, 100)];
    expect(familyOf(mark, all)).toEqual([]);
  });

  test("nobody is older than the main process", () => {
    expect(familyOf(mark, [info(child, 1, main, 49)])).toEqual([]);
  });

  test("the dead are no members", () => {
    expect(familyOf(mark, [{ ...info(child, 1, main, 60), state: "Z" }])).toEqual([]);
  });
});

describe("users", () => {
  test("they are found by name and by number", async () => {
    const { username, uid, gid } = userInfo();
    expect(await findUser(username)).toMatchObject({ uid, gid });
    expect(await findUser(String(uid))).toMatchObject({ name: username });
  });

  test.each(["no-such-user", "4294967000", "-h", "", "a b", "root:x"])("%j is nobody", async (name) => {
    expect(await findUser(name)).toBeUndefined();
  });
});

describe("the chain to a Machine's program", () => {
  const user = { name: "postgres", uid: 70, gid: 71, home: "/" };
  const command = ["serve", "--port", "80"] as const;
  const dieWithUs = ["/usr/bin/setpriv", "--pdeathsig", "KILL"];

  test("the plane's way in comes first, and does everything else", () => {
    const enter = ["/usr/bin/nsenter", "--net=/proc/1/fd/5", "setpriv", "--reuid=70"];
    expect(launchChain({ enter, command, user, dieWithUs })).toEqual({
      argv: [...enter, ...command],
      owner: undefined,
    });
  });

  test("without namespaces setpriv takes the user's identity and the parent's death", () => {
    const become = ["--reuid=70", "--regid=71", "--init-groups"];
    const { argv } = launchChain({ enter: [], command, user, dieWithUs });
    expect(argv).toEqual(["/usr/bin/setpriv", ...become, "--pdeathsig", "KILL", "--", ...command]);
    const nameless = { ...user, name: "70" };
    expect(launchChain({ enter: [], command, user: nameless, dieWithUs }).argv).toContain("--clear-groups");
  });

  test("where there is no setpriv the starter becomes the user", () => {
    const chain = launchChain({ enter: [], command, user, dieWithUs: [] });
    expect(chain).toEqual({ argv: command, owner: { uid: 70, gid: 71 } });
    expect(launchChain({ enter: [], command, user: undefined, dieWithUs: [] }).owner).toBeUndefined();
  });
});
