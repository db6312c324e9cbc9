import type { AppConfig, ProcessGroup, Service, WorkspaceApp } from "../config/model.ts";
import type { MachineConfig } from "../registry/model.ts";

/** Metadata that says where a Machine came from: from the files of `up`, which it follows to its end, or from `deploy`. */
export const ORIGIN_KEY = "flycast_origin";
export type Origin = "workspace" | "deploy";

/** The services that a process group's Machines offer. */
export function servicesOf(config: AppConfig, group: string): readonly Service[] {
  return config.services.filter((service) => service.processes.includes(group));
}

/**
 * What a Machine of a process group runs, from its fly.toml and flycast.toml. Two calls with equal files give equal values:
 * that is how a reload knows which Machines a change concerns.
 */
export function machineConfig(app: WorkspaceApp, group: ProcessGroup, origin: Origin): MachineConfig {
  const { config } = app;
  return {
    command: app.commands[group.name] ?? group.command ?? [],
    folder: app.folder,
    env: { ...config.env, ...app.env },
    envFile: app.envFile,
    user: app.user,
    services: servicesOf(config, group.name),
    checks: group.checks,
    mounts: group.mounts.map((mount) => ({ ...mount, folder: app.volumes })),
    files: group.files,
    metadata: {
      ...app.metadata,
      [ORIGIN_KEY]: origin,
      fly_platform_version: "v2",
      fly_process_group: group.name,
    },
    processGroup: group.name,
    stop: { signal: config.killSignal, timeout: config.killTimeout },
    restart: group.restart,
    guest: group.guest,
    skipDns: false,
    autoDestroy: false,
    raw: undefined,
  };
}

/** Equality of plain values; sets and the order of keys included. */
export function sameConfig(a: unknown, b: unknown): boolean {
  return canonical(a) === canonical(b);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (item instanceof Set) return { set: [...item].map(String).toSorted() };
    if (item instanceof Map) return { map: [...item] };
    if (typeof item !== "object" || item === null || Array.isArray(item)) return item;
    return Object.fromEntries(Object.entries(item).toSorted(([x], [y]) => (x < y ? -1 : 1)));
  });
}
