import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { systemClock } from "../../../src/core/clock.ts";
import { ms } from "../../../src/core/units.ts";
import { createProcessDriver } from "../../../src/machines/drivers/process.ts";
import { familyOf, readProcess } from "../../../src/machines/drivers/processes.ts";
import { makeCluster, postgresFolder } from "../../proxy/postgres-server.ts";
import { barePlane, ENVIRONMENT, exitOf, machineWith, quietLog, temporaryFolder, until } from "./machine-fixture.ts";
import { standsStill } from "../../support/stands-still.ts";

const bin = postgresFolder();
const shared = temporaryFolder();
afterAll(() => shared.remove());

// Its backends call setsid and overwrite their environment, so that only their descent tells whose they are.
test.skipIf(bin === undefined && process.env["CI"] !== "true")(
  "every process of a PostgreSQL is suspended, goes on, and ends with its main process",
  async () => {
    const cluster = await makeCluster(bin!, ["listen_addresses=''"]);
    const plane = barePlane();
    const stateDir = shared.path;
    const driver = await createProcessDriver({ plane, stateDir, clock: systemClock, outlive: false, log: quietLog });
    const command = [join(bin!, "postgres"), "-D", cluster.data, "-k", cluster.folder];
    const machine = machineWith({ command, folder: cluster.folder });
    const ask = (): Promise<string> => cluster.client("psql", ["-h", cluster.folder, "-Atc", "select 6 * 7"]);
    const ready = (times: number): Promise<true> =>
      until("it serves", () => {
        const lines = driver.tail(machine.id, 200).filter((line) => line.includes("ready to accept connections"));
        return lines.length === times && true;
      });

    const { pid = 0 } = await driver.start(machine, 1, ENVIRONMENT);
    await ready(1);
    const family = (): number[] =>
      familyOf({ id: machine.id, main: pid, since: readProcess(pid)?.startTime ?? 0, output: "" }).map(
        (member) => member.pid,
      );
    expect(family().length).toBeGreaterThan(4);
    await driver.suspend(machine.id);
    expect(family().filter((member) => !standsStill(member))).toEqual([]);
    const answer = ask();
    await driver.resume(machine.id);
    expect(await answer).toBe("42\n");
    const session = cluster.spawnClient("psql", ["-h", cluster.folder, "-c", "select pg_sleep(1000)"], {});
    await until("it sleeps", () => family().length > 5);

    expect(await driver.stop(machine.id, { signal: "SIGINT", timeout: ms(30_000) })).toEqual({
      code: 0,
      signal: undefined,
    });
    session.kill();

    const second = (await driver.start(machine, 2, ENVIRONMENT)).pid ?? 0;
    await ready(2);
    const members = familyOf({
      id: machine.id,
      main: second,
      since: readProcess(second)?.startTime ?? 0,
      output: "",
    }).map((member) => member.pid);
    const exit = exitOf(driver, machine.id, 2);
    process.kill(second, "SIGKILL");
    expect(await exit).toEqual({ code: undefined, signal: "SIGKILL" });
    // Those that were ending by themselves at that moment may still be at it.
    await until("nobody is left", () => members.every((member) => (readProcess(member)?.state ?? "Z") === "Z"));
    await driver.close();
  },
);
