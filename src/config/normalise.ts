import type { AppName, RegionCode } from "../core/ids.ts";
import { ms, seconds } from "../core/units.ts";
import type { RawFlyToml, RawVm } from "./fly-toml-schema.ts";
import { GUEST_PRESETS } from "./guest-presets.ts";
import type { AppConfig, FileEntry, Guest, Mount, ProcessGroup, RestartPolicy } from "./model.ts";
import { normaliseServices, normaliseTopLevelChecks } from "./normalise-services.ts";
import { groupNames } from "./process-groups.ts";

const MIB = 1024 * 1024;
const MAX_KILL_TIMEOUT = seconds(300);

/** One internal shape from a file that was read. Cannot fail: what an error left out has its default. */
export function normalise(raw: RawFlyToml, name: AppName, primaryRegion: RegionCode | undefined): AppConfig {
  const names = groupNames(raw);
  const killTimeout = raw.kill_timeout ?? raw.experimental?.kill_timeout ?? seconds(5);
  return {
    name,
    primaryRegion,
    killSignal: raw.kill_signal,
    killTimeout: ms(Math.min(killTimeout, MAX_KILL_TIMEOUT)),
    // fromEntries defines properties, so that even `__proto__` is nothing but a name.
    env: Object.fromEntries(raw.env),
    groups: names.all.map((group) => normaliseGroup(raw, group, names.default)),
    defaultGroup: names.default,
    services: normaliseServices(raw, names.default),
    releaseCommand: nonEmpty(raw.deploy?.release_command),
    releaseCommandTimeout: raw.deploy?.release_command_timeout ?? seconds(300),
    deployStrategy: raw.deploy?.strategy ?? "rolling",
    swapSizeMb: raw.swap_size_mb,
  };
}

function normaliseGroup(raw: RawFlyToml, name: string, defaultGroup: string): ProcessGroup {
  const applies = (processes: readonly string[]) =>
    processes.length > 0 ? processes.includes(name) : name === defaultGroup;
  return {
    name,
    command: groupCommand(raw, name),
    mounts: raw.mounts.filter((mount) => applies(mount.processes)).map(normaliseMount),
    files: raw.files.filter((file) => applies(file.processes)).map(normaliseFile),
    checks: normaliseTopLevelChecks(raw, name, defaultGroup),
    restart: normaliseRestart(raw.restart.find((restart) => applies(restart.processes))),
    guest: normaliseGuest(
      raw.vm.find((vm) => vm.processes.includes(name)) ?? raw.vm.find((vm) => vm.processes.length === 0),
    ),
  };
}

/**
 * What the platform would execute, without the parts that only an image knows: `exec` replaces everything; else the
 * entrypoint, then the group's command or `experimental.cmd`. Undefined: the file names nothing.
 */
function groupCommand(raw: RawFlyToml, group: string): readonly string[] | undefined {
  const experimental = raw.experimental;
  if (experimental?.exec !== undefined && experimental.exec.length > 0) return experimental.exec;
  const own = nonEmpty(raw.processes.get(group)?.command);
  return nonEmpty([...(experimental?.entrypoint ?? []), ...(own ?? experimental?.cmd ?? [])]);
}

function nonEmpty(words: readonly string[] | undefined): readonly string[] | undefined {
  return words === undefined || words.length === 0 ? undefined : words;
}

function normaliseMount(raw: RawFlyToml["mounts"][number]): Mount {
  const parts = (raw.destination ?? "").split("/").filter((part) => part !== "" && part !== ".");
  return { source: raw.source ?? "data", destination: `/${parts.join("/")}` };
}

function normaliseFile(raw: RawFlyToml["files"][number]): FileEntry {
  return {
    guestPath: raw.guest_path ?? "",
    localPath: raw.local_path,
    secretName: raw.secret_name,
    rawValue: raw.raw_value?.replaceAll(/\s/g, ""),
  };
}

function normaliseRestart(raw: RawFlyToml["restart"][number] | undefined): RestartPolicy {
  const policy = raw?.policy ?? "on-failure";
  // The platform's default: on-failure, 10 tries (superfly/docs machines API, restart).
  return { policy: policy === "never" ? "no" : policy, maxRetries: raw?.retries ?? 10 };
}

function normaliseGuest(raw: RawVm | undefined): Guest {
  const size = raw?.size ?? "";
  const preset = Object.hasOwn(GUEST_PRESETS, size) ? GUEST_PRESETS[size] : undefined;
  const memory = raw?.memory === undefined ? raw?.memory_mb : Math.round(raw.memory / MIB);
  return { cpus: raw?.cpus ?? preset?.cpus, memoryMb: memory ?? preset?.memoryMb };
}
