import type { AppName } from "../core/ids.ts";
import type { MachineConfig } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";

/** A release as clients of the platform know it. */
export interface Release {
  readonly id: string;
  readonly version: number;
  readonly createdAt: string;
  /** The image that its Machines name. */
  readonly imageRef: string;
}

/**
 * There are no releases of images here: the newest of an app's Machines stands for the current one. Its number is the one
 * that the platform's command line wrote into the Machine, else the Machine's own version. Undefined for an app without
 * Machines.
 */
export function currentRelease(view: RegistryView, app: AppName): Release | undefined {
  const [newest] = view
    .machinesOf(app)
    .map((machine) => ({ machine, version: writtenVersion(machine.config) ?? machine.version }))
    .toSorted((a, b) => b.version - a.version || b.machine.updatedAt - a.machine.updatedAt);
  if (newest === undefined) return undefined;
  const { machine, version } = newest;
  return {
    id: machine.config.metadata["fly_release_id"] || machine.instance,
    version,
    createdAt: new Date(machine.updatedAt).toISOString(),
    imageRef: imageOf(machine.config),
  };
}

/** The release that a client is about to make. It becomes the current one when Machines have it. */
export function nextRelease(view: RegistryView, app: AppName, image: string, now: number): Release {
  const version = (currentRelease(view, app)?.version ?? 0) + 1;
  return { id: `${app}.${version}`, version, createdAt: new Date(now).toISOString(), imageRef: image };
}

/** App and number of a release that `nextRelease` named; any other name is one of no app. */
export function parseReleaseId(id: string): { readonly app: string; readonly version: number } {
  const [, app = "", version = "0"] = /^([a-z0-9-]{1,63})\.(\d{1,9})$/.exec(id) ?? [];
  return { app, version: Number(version) };
}

/** The image that a client named; Machines of files have none, and run a process. */
export function imageOf(config: MachineConfig): string {
  const { raw } = config;
  const image = typeof raw === "object" && raw !== null && "image" in raw ? raw.image : undefined;
  return typeof image === "string" && image !== "" ? image : "process:latest";
}

function writtenVersion(config: MachineConfig): number | undefined {
  const text = config.metadata["fly_release_version"] ?? "";
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}
