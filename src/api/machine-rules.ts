import { join } from "node:path";
import { AppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import type { NodeConfig } from "../config/model.ts";
import type { Machines } from "../machines/machines.ts";
import type { App } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import type { ApiMachineHome } from "./platform-config.ts";

const RUNNING: ReadonlySet<string> = new Set(["starting", "started", "draining"]);

/** A new life with the newest config, for a Machine that runs; one that sleeps gets it when it wakes. */
export async function restartIfRunning(
  view: RegistryView,
  machines: Machines,
  id: MachineId,
  because: string,
): Promise<void> {
  if (RUNNING.has(view.status(id).state)) await machines.restart(id, { because });
}

/**
 * Where a Machine made through the API runs, and as whom: the organisation's `user`.
 * @errors forbidden where nobody is named and it would be root
 */
export function apiHome(view: RegistryView, stateDir: string, app: App): ApiMachineHome {
  const user = view.organisation(app.org)?.user;
  if (user === undefined && process.getuid?.() === 0) {
    throw new AppError(
      "forbidden",
      `Machines made through the API would run as root here: name a user of this computer for organisation "${app.org}".`,
      { details: { next: `flycast orgs update ${app.org} --user nobody` } },
    );
  }
  // The root folder, as in an image that names none; the state folder is hidden from Machines.
  return { folder: "/", user, volumes: join(stateDir, "volumes", app.name) };
}

/** Settings that are read once: a change of them needs a restart, and half a change must not be applied. @errors conflict */
export function refuseRestartOnly(before: NodeConfig, after: NodeConfig): void {
  const keys = ["region", "stateDir", "networkMode", "egress"] as const;
  for (const key of keys) {
    if (before[key] !== after[key]) {
      throw new AppError(
        "conflict",
        `[node] ${key} changed from "${before[key]}" to "${after[key]}": that needs a restart of flycast.`,
      );
    }
  }
  const wireguard = ({ wireguard: gateway }: NodeConfig): string =>
    gateway === undefined ? "" : `${gateway.host} ${gateway.port} ${gateway.endpoint}`;
  if (wireguard(before) !== wireguard(after)) {
    throw new AppError("conflict", "[node] wireguard changed: that needs a restart of flycast.");
  }
}
