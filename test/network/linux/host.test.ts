import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, rmSync, statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startLab, until, type Lab } from "../support/lab.ts";
import { NO_LAB, NO_ROOT } from "../support/possible.ts";
import { isRunning, running, type Running } from "../support/processes.ts";

const NET = 0x18;

describe.skipIf(NO_LAB || NO_ROOT)("host mode", () => {
  let name: string;
  let node: Lab | undefined;
  let started: Running[] = [];

  beforeEach(() => {
    name = `fctest-${randomBytes(3).toString("hex")}`;
  });
  afterEach(async () => {
    await node?.end();
    for (const one of started) if (isRunning(one)) process.kill(one.pid, "SIGKILL");
    started = [];
    if (existsSync(`/run/netns/${name}`)) execFileSync("ip", ["netns", "del", name]);
    rmSync(`/run/flycast/${name}`, { recursive: true, force: true });
  });

  /** A node's life: the core in the namespace that outlives it. */
  async function live(): Promise<Lab> {
    node = await startLab({ uid: 0, persistent: name, spare: 1 });
    return node;
  }

  async function startSleeper(lab: Lab, machine: string): Promise<readonly number[]> {
    await lab.tell({ do: "start", machine, command: ["sh", "-c", "setsid sleep 1000 & exec sleep 1000"] });
    const members = () => lab.tell<number[]>({ do: "members", machine });
    await expect.poll(async () => (await members()).length).toBe(2);
    const pids = await members();
    started.push(...pids.flatMap((pid) => running(pid) ?? []));
    return pids;
  }

  test("Machines go on when the node is killed, and the next one finds them and their isolation", async () => {
    const first = await live();
    const a1 = await first.place("0000000000000a", NET, 1);
    await first.place("0000000000000b", 0x19, 2);
    const pids = await startSleeper(first, "0000000000000a");
    await first.end();
    expect(started.every(isRunning)).toBe(true);

    const second = await live();
    expect(await second.place("0000000000000a", NET, 1)).toEqual(a1);
    expect(await second.tell({ do: "members", machine: "0000000000000a" })).toEqual(pids);
    await second.tell({ do: "listen-private", port: 80 });
    await second.tell({ do: "doors" });
    const b = await second.place("0000000000000b", 0x19, 2);
    const curl = (machine: string, url: string) => second.run(machine, "curl", "-sg", "--http0.9", "-m", "2", url);
    expect((await curl("0000000000000a", "http://[fdaa:0:18:0:1::1]/")).out).toBe(`${a1.address} fdaa:0:18:0:1::1 80`);
    expect((await curl("0000000000000b", "http://[fdaa:0:18:0:1::1]/")).code).toBe(7);
    expect((await curl("0000000000000b", `http://[${a1.address}]/`)).code).toBe(7);
    expect((await curl("0000000000000b", "http://[fdaa:0:19:0:1::1]/")).out).toBe(`${b.address} fdaa:0:19:0:1::1 80`);

    await second.tell({ do: "unplace", machine: "0000000000000a" });
    await until(() => !started.some(isRunning));
  });

  test("an asleep Machine's place and unfinished ones are strays: the next node removes their links", async () => {
    const first = await live();
    await first.place("0000000000000a", NET, 1);
    await first.place("0000000000000b", NET, 2);
    await startSleeper(first, "0000000000000a");
    await first.end();

    const second = await live();
    // One Machine that runs, and one namespace that this life keeps ready.
    await expect.poll(async () => (await second.tell<string[]>({ do: "links" })).length).toBe(2);
    for (const { pid } of started) process.kill(pid, "SIGKILL");
    await second.end();

    const third = await live();
    await expect.poll(async () => (await third.tell<string[]>({ do: "links" })).length).toBe(1);
  });

  test("a client enters from outside", async () => {
    const lab = await live();
    const client = await lab.tell<{ address: string; enter: string[] }>({ do: "client", network: NET });
    const command = [...client.enter, "getent", "hosts", "fly-local-6pn"];
    expect(execFileSync(command[0]!, command.slice(1), { encoding: "utf8" })).toContain(client.address);
  });

  test("the computer joins one network by one address and one route, and reaches no other", async () => {
    const before = lookAround(name);
    const lab = await live();
    const a = await lab.place("0000000000000a", NET, 1);
    const b = await lab.place("0000000000000b", 0x19, 2);
    await lab.tell({ do: "listen-private", port: 80 });
    expect(lookAround(name)).toEqual(before);
    expect(statSync(`/run/flycast/${name}`).mode & 0o777).toBe(0o700);

    const own = await lab.tell<string>({ do: "join-host", network: NET });
    expect(await lab.tell<string>({ do: "join-host", network: NET })).toBe(own);
    const curl = (...args: readonly string[]) =>
      spawnSync("curl", ["-sg", "--http0.9", "-m", "2", ...args], { encoding: "utf8" });
    expect(curl("http://[fdaa:0:18:0:1::1]/").stdout).toBe(`${own} fdaa:0:18:0:1::1 80\n`);
    expect(spawnSync("ping", ["-6", "-c1", "-W2", a.address]).status).toBe(0);
    for (const foreign of [b.address, "fdaa:0:19:0:1::1", "fdaa:0:19::3"]) {
      expect(spawnSync("ping", ["-6", "-c1", "-W1", foreign]).status).not.toBe(0);
    }
    // Not even through a route of one's own making: the source is not of that network.
    execFileSync("ip", ["-6", "route", "add", "fdaa:0:19::/48", "via", "fe80::1", "dev", name, "src", own]);
    expect(curl("http://[fdaa:0:19:0:1::1]/").status).toBe(7);
  });
});

/** The computer's addresses, routes and rules, without the link of the node under test and without other tests'. */
function lookAround(link: string): readonly string[] {
  return [["addr"], ["route"], ["-6", "route"], ["rule"], ["-6", "rule"]].map((what) =>
    execFileSync("ip", ["-o", ...what], { encoding: "utf8" })
      .split("\n")
      .filter((line) => !line.includes(link) && !/fctest-|flyexit/.test(line))
      .join("\n")
      .replaceAll(/valid_lft \S+|preferred_lft \S+/g, ""),
  );
}
