import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AppName, HostId, Ip6, MachineId, NetworkId, RegionCode } from "../../../src/core/ids.ts";
import type { WallTime } from "../../../src/core/units.ts";
import type { Exit, MachineDriver } from "../../../src/machines/driver.ts";
import type { NetworkMode, NetworkPlane, Place } from "../../../src/network/plane.ts";
import type { Machine, MachineConfig } from "../../../src/registry/model.ts";
import { PLAIN_CONFIG } from "../../support/plain-values.ts";

let count = 0;

export function machineWith(config: Partial<MachineConfig> & { command: readonly string[] }): Machine {
  const id = (Date.now().toString(16) + process.pid.toString(16) + (++count).toString(16)).slice(-14).padStart(14, "0");
  return {
    id: id as MachineId,
    name: "quiet-river-1234",
    app: "web" as AppName,
    network: 0x80000001 as NetworkId,
    region: "iad" as RegionCode,
    host: 0x0a7b007d as HostId,
    address: `fdaa:8000:1:a7b:7d:f066:${count.toString(16)}:2` as Ip6,
    config: { ...PLAIN_CONFIG, folder: tmpdir(), ...config },
    instance: "01HXXXXXXXXXXXXXXXXXXXXXXX",
    version: 1,
    cordoned: false,
    createdAt: 0 as WallTime,
    updatedAt: 0 as WallTime,
  };
}

/** A Machine whose command is this text run by node. */
export function nodeMachine(script: string, config: Partial<MachineConfig> = {}): Machine {
  return machineWith({ command: [process.execPath, "-e", script], ...config });
}

/** A Machine whose command is this text run by sh. */
export function shellMachine(script: string, config: Partial<MachineConfig> = {}): Machine {
  return machineWith({ command: ["/bin/sh", "-c", script], ...config });
}

/** A plane without namespaces: what loopback mode gives the driver. `place` may be replaced. */
export function barePlane(place: Partial<Place> = {}, mode: NetworkMode = "loopback"): NetworkPlane {
  // Only what the driver may use: it has no say in the rest of the plane.
  const plane: Pick<NetworkPlane, "mode" | "place" | "unplace"> = {
    mode,
    place: (request) =>
      Promise.resolve({
        enter: () => [],
        env: { PORT: String(request.ports[0] ?? 0), HOST: "127.0.0.1" },
        dial: (port) => [{ host: "127.0.0.1", port }],
        members: () => undefined,
        ...place,
      }),
    unplace: () => Promise.resolve(),
  };
  return plane as NetworkPlane;
}

export function temporaryFolder(): { path: string; remove(): void } {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "flycast-driver-")));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Resolves with the exit of one life. */
export function exitOf(driver: MachineDriver, id: MachineId, generation: number): Promise<Exit> {
  return new Promise((resolve) => {
    const forget = driver.observe((ended, of, exit) => {
      if (ended !== id || of !== generation) return;
      forget();
      resolve(exit);
    });
  });
}

/** Waits for a condition of the world outside, which sends no events. */
export async function until<T>(what: string, look: () => T | undefined | false, patience = 20_000): Promise<T> {
  const end = Date.now() + patience;
  for (;;) {
    const seen = look();
    if (seen !== undefined && seen !== false) return seen;
    if (Date.now() > end) throw new Error(`it did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export const ENVIRONMENT = { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };

export const quietLog = { info: () => {}, warn: () => {} };
