/** Runs inside a lab: starts Machines with the real plane and reports what became of them, as one message. */
import { connect } from "node:net";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import { ms, port } from "../../../src/core/units.ts";
import { createProcessDriver } from "../../../src/machines/drivers/process.ts";
import { readProcess } from "../../../src/machines/drivers/processes.ts";
import { connectOuter } from "../../../src/network/linux/core-side.ts";
import { createLinuxPlane } from "../../../src/network/linux/plane.ts";
import { probeLab } from "../../../src/network/linux/probe.ts";
import { standsStill } from "../../support/stands-still.ts";
import { ENVIRONMENT, nodeMachine, quietLog, shellMachine, until } from "./machine-fixture.ts";

const outer = await connectOuter();
const folder = process.argv[2] ?? "";
const probe = await probeLab();
const plane = await createLinuxPlane({
  mode: "lab",
  stateDir: join(folder, "state"),
  outer: outer.facts,
  nftables: probe.ok && probe.nft,
});
const stateDir = join(folder, "state");
mkdirSync(stateDir, { recursive: true });
const driver = await createProcessDriver({ plane, stateDir, clock: systemClock, outlive: false, log: quietLog });

const server = nodeMachine(
  `const {spawn}=require("child_process");
   const c=spawn("setsid",["sleep","1000"],{env:{PATH:process.env.PATH},stdio:"ignore"});
   require("net").createServer(s=>s.end("pid "+process.pid+" child "+c.pid)).listen(8080,()=>console.log("up"));
   process.on("SIGTERM",()=>process.exit(9))`,
  { folder },
);
const { pid = 0 } = await driver.start(server, 1, ENVIRONMENT);
await until("it listens", () => driver.tail(server.id, 9).includes("up"));
const [address] = driver.endpoint(server, port(8080));
const said = await new Promise<string>((resolve, reject) => {
  const socket = connect(address?.port ?? 0, address?.host);
  socket.once("error", reject).once("data", (data) => resolve(data.toString()));
});
const child = Number(said.split(" ")[3]);
await driver.suspend(server.id);
const suspended = [pid, child].map(standsStill);
await driver.resume(server.id);
const exit = await driver.stop(server.id, { signal: "SIGTERM", timeout: ms(20_000) });
const left = [pid, child].map((p) => readProcess(p)?.state).filter((state) => state !== undefined && state !== "Z");

const mounted = shellMachine(
  `echo hello > /data/file; cat /greetings/day; ls ${stateDir} | wc -l; grep CapEff /proc/self/status`,
  {
    folder,
    mounts: [{ source: "data", destination: "/data", folder: join(stateDir, "volumes") }],
    files: [
      {
        guestPath: "/greetings/day",
        localPath: undefined,
        secretName: undefined,
        rawValue: Buffer.from("good day\n").toString("base64"),
      },
    ],
  },
);
const ended = new Promise((resolve) => driver.observe(resolve));
await driver.start(mounted, 1, ENVIRONMENT);
await ended;
const output = driver.tail(mounted.id, 9);

await driver.release(server.id);
await driver.close();
outer.send({ pid, said, suspended, exit, left, output });
await plane.close();
process.exit(0);
