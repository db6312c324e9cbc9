import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startLab, USERS, type Lab } from "../support/lab.ts";
import { NO_LAB } from "../support/possible.ts";

const NET_A = 0x18;
const NET_B = 0x19;

/** So many connections at once, each with one try of its own second; prints how many were made. */
const CROWD = `
const [count, host] = process.argv.slice(1);
let open = 0, ended = 0;
for (let i = 0; i < Number(count); i++) {
  const socket = net.connect(80, host);
  const giveUp = setTimeout(() => socket.destroy(), 900);
  socket.on("connect", () => { open++; socket.destroy(); });
  socket.on("error", () => {});
  socket.on("close", () => { clearTimeout(giveUp); if (++ended === Number(count)) console.log(open); });
}
`;

describe.skipIf(NO_LAB).each(USERS)("a throttled network (nftables, uid %s)", (uid) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab({ uid, rules: "nft", spare: 2 });
    await Promise.all([lab.place("a1", NET_A, 1), lab.place("b1", NET_B, 2)]);
    await lab.tell({ do: "listen-private", port: 80 });
  });
  afterAll(() => lab.end());

  const crowd = async (machine: string, count: number, host: string) =>
    Number((await lab.run(machine, process.execPath, "-e", CROWD, String(count), host)).out);
  const fromA = (count: number) => crowd("a1", count, "fdaa:0:18:0:1::3");
  const throttled = async () => (await lab.tell<Record<string, number>>({ do: "refused" }))["throttled"];

  test("a crowd of a network that is not throttled passes, as large as the clients of a Machine that wakes", async () => {
    expect(await fromA(1000)).toBeGreaterThan(0);
    expect(await throttled()).toBe(0);
  });

  test("what comes beyond the rate is dropped and counted, and other networks are not concerned", async () => {
    await lab.tell({ do: "throttle", network: NET_A, perSecond: 700 });
    expect(await fromA(1000)).toBeLessThan(1000);
    const dropped = await throttled();
    expect(dropped).toBeGreaterThan(0);
    await crowd("b1", 500, "fdaa:0:19:0:1::3");
    expect(await throttled()).toBe(dropped);
  });

  test("one that keeps to its rate is served, and is free when it is told so", async () => {
    expect((await lab.run("a1", "curl", "-sg", "--http0.9", "-m", "9", "http://[fdaa:0:18:0:1::3]/")).code).toBe(0);
    await lab.tell({ do: "throttle", network: NET_A, perSecond: 1 });
    await lab.tell({ do: "unthrottle", network: NET_A });
    const before = await throttled();
    await fromA(300);
    expect(await throttled()).toBe(before);
    // Also when the stay has ended meanwhile, or never began.
    await lab.tell({ do: "unthrottle", network: NET_A });
  });
});
