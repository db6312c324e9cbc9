import { describe, expect, test } from "vitest";
import { seconds } from "../../src/core/units.ts";
import { machine, machineId, PORT, service, world, type World } from "./world.ts";

const ONE = machineId(1);

async function running(w: World): Promise<void> {
  const claim = w.claim(1);
  await claim.ready;
  claim.release();
}

describe("why", () => {
  test("names each claim: from where, since when, and its last byte", async () => {
    const w = world([machine(1)]);
    const claim = w.claim(1);
    await claim.ready;
    const since = w.clock.wall();
    await w.clock.advance(seconds(90));
    claim.lastByte = w.clock.now();
    await w.clock.advance(seconds(30));
    expect(w.machines.why(ONE)).toMatchObject({
      state: "started",
      because: "woken by a connection from [fdaa:8000:18::99]:40000",
      holders: [
        {
          service: PORT,
          kind: "connection",
          from: "[fdaa:8000:18::99]:40000",
          since,
          lastByte: since + 90_000,
          waiting: false,
          holds: true,
        },
      ],
      next: "it stays up: in use by 1 connection or request",
      at: undefined,
    });
  });

  test("tells when an idle Machine may stop at the earliest, and at which pass it will", async () => {
    const w = world([machine(1)]);
    await running(w);
    const since = w.clock.wall();
    await w.clock.advance(seconds(30));
    expect(w.machines.why(ONE)).toMatchObject({ next: "it stays up: not idle for 5 min yet", at: since + 300_000 });
    w.machines.setAutostop({ interval: seconds(60), idle: seconds(20) });
    expect(w.machines.why(ONE)).toMatchObject({
      next: "the next pass of autostop will stop it: idle for 30 s; 1 of 1 run in iad (process group app)",
      at: w.clock.wall() + 60_000,
    });
    await w.clock.advance(seconds(60));
    expect(w.machines.why(ONE)).toMatchObject({
      state: "stopped",
      because: "idle for 90 s; 1 of 1 run in iad (process group app)",
      next: "the next connection starts it",
    });
  });

  test("tells what a backoff, a drain and a missing autostart mean", async () => {
    const w = world([
      machine(1),
      machine(2, { services: [service({ autostart: false })] }),
      machine(3, { cordoned: true }),
    ]);
    expect(w.machines.why(machineId(2)).next).toBe("nothing wakes it: none of its services has autostart");
    expect(w.machines.why(machineId(3)).next).toBe("nothing wakes it: it is cordoned");
    w.driver.behaviour.startFails = () => "no such file";
    await w.claim(1).ready.catch(() => {});
    const backoff = {
      state: "failed",
      because: "no such file",
      next: "the next connection after the backoff starts it",
    };
    expect(w.machines.why(ONE)).toMatchObject({ ...backoff, at: w.clock.wall() + 500 });
    w.driver.behaviour.startFails = () => undefined;
    await w.clock.advance(500);
    await w.claim(1).ready;
    void w.machines.stop(ONE, { because: "a deploy" }).catch(() => {});
    const drain = {
      state: "draining",
      because: "a deploy",
      next: "what is left is cut at the end of the drain timeout",
    };
    expect(w.machines.why(ONE)).toMatchObject({ ...drain, at: w.clock.wall() + 300_000 });
    await w.machines.shutdown({ drain: false });
  });
});
