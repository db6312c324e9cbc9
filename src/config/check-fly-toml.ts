import { parseAppName } from "../core/ids.ts";
import { groupsRemedy, checkTopLevelChecks } from "./check-checks.ts";
import { checkServices } from "./check-services.ts";
import { allServices } from "./desugar.ts";
import type { Findings } from "./findings.ts";
import type { RawFlyToml } from "./fly-toml-schema.ts";
import { GUEST_PRESETS } from "./guest-presets.ts";
import { nearest } from "./nearest.ts";
import { groupNames } from "./process-groups.ts";

export interface CheckOptions {
  /** Refusals that are turned into warnings: `force_https`. */
  readonly allow: ReadonlySet<string>;
  readonly knownRegions: ReadonlySet<string>;
  /** Whether a missing `app` is an error; otherwise it is a warning, and `defaultName` is used. */
  readonly requireName: boolean;
  readonly defaultName: string | undefined;
}

const GB = 1e9;
// The largest environment name that is worth keeping; the kernel's limit for one string is 128 KiB.
const ENV_NAME = /^[^=\0]{1,1024}$/;
const GROUP_NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;
const RESERVED_GROUPS = new Set(["fly_app_release_command", "fly_app_test_machine_command", "fly_app_console"]);

/** Everything that a fly.toml can get wrong beyond the types of single keys. Reports; changes nothing. */
export function checkFlyToml(raw: RawFlyToml, findings: Findings, options: CheckOptions): void {
  const names = groupNames(raw);
  const groups = new Set(names.all);
  checkName(raw, findings, options);
  checkRegion(raw, findings, options);
  checkProcesses(raw, findings);
  checkEnv(raw, findings);
  checkServices(allServices(raw, findings.origins), findings, {
    groups,
    hasProcesses: raw.processes.size > 0,
    allowForceHttps: options.allow.has("force_https"),
  });
  checkTopLevelChecks(raw.checks, findings, {
    groups,
    defaultPort: (of) => {
      const http = raw.http_service;
      if (http === undefined) return false;
      const offered = new Set(http.processes.length > 0 ? http.processes : [names.default]);
      return (of.length > 0 ? of : [names.default]).every((group) => offered.has(group));
    },
  });
  checkGroupReferences(raw, findings, groups);
  checkMounts(raw, findings, names.default);
  checkFiles(raw, findings);
  checkRest(raw, findings);
}

function checkName(raw: RawFlyToml, findings: Findings, options: CheckOptions): void {
  if (raw.app !== undefined) {
    const name = parseAppName(raw.app);
    if (!name.ok) findings.error(["app"], "bad-app-name", name.error, 'write app = "my-app"');
    return;
  }
  if (options.defaultName !== undefined || findings.isRefused(raw, "app")) return;
  const message = "the file names no app";
  if (options.requireName) findings.error([], "missing-app-name", message, 'write app = "my-app" at the top');
  else findings.warning([], "missing-app-name", message, 'write app = "my-app" at the top');
}

function checkRegion(raw: RawFlyToml, findings: Findings, options: CheckOptions): void {
  const region = raw.primary_region;
  if (region === undefined || options.knownRegions.has(region)) return;
  const guess = nearest(region, options.knownRegions);
  const own = `[regions.${/^[a-z][a-z0-9]*$/.test(region) ? region : "NAME"}] with lat and lon to flycast.toml`;
  const remedy = guess === undefined ? `add ${own}` : `write "${guess}", or add ${own}`;
  const message = `there is no region ${JSON.stringify(region.slice(0, 40))}`;
  findings.error(["primary_region"], "unknown-region", message, remedy);
}

function checkProcesses(raw: RawFlyToml, findings: Findings): void {
  for (const [name, process] of raw.processes) {
    const path = findings.at(process);
    if (!GROUP_NAME.test(name)) {
      const message = `${JSON.stringify(name.slice(0, 80))} is not a name for a process group`;
      findings.error(path, "bad-group-name", message, "use letters, digits, - and _, at most 63");
    } else if (RESERVED_GROUPS.has(name)) {
      findings.error(path, "bad-group-name", `the group ${name} is the platform's own`, "choose another name");
    }
    const first = process.command[0];
    const alone = raw.experimental?.entrypoint === undefined && raw.experimental?.exec === undefined;
    if (alone && first?.startsWith("-") === true) {
      const message = `the command begins with ${JSON.stringify(first.slice(0, 40))}: its program is the image's entrypoint`;
      findings.warning(
        path,
        "command-is-arguments",
        message,
        "write the program in front, or in flycast.toml: command = …",
      );
    }
  }
  for (const name of ["cmd", "entrypoint", "exec"] as const) {
    const words = raw.experimental?.[name];
    const only = words?.length === 1 ? words[0] : undefined;
    if (only === undefined || !/\s/.test(only.trim())) continue;
    const message = `experimental.${name} is not split: ${JSON.stringify(only.slice(0, 80))} is the name of one program`;
    const remedy = `write a list, such as ${JSON.stringify(only.trim().split(/\s+/).slice(0, 8))}`;
    findings.warning(["experimental", name], "unsplit-command", message, remedy);
  }
}

function checkEnv(raw: RawFlyToml, findings: Findings): void {
  for (const name of raw.env.keys()) {
    const path = ["env", name];
    if (!ENV_NAME.test(name)) findings.error(path, "bad-env-name", "a variable's name may not be empty or hold =");
    else if (name.startsWith("FLY_")) {
      const message = `${name}: names that begin with FLY_ are the platform's`;
      findings.warning(path, "env-prefix", message, "choose another name");
    }
  }
}

function checkGroupReferences(raw: RawFlyToml, findings: Findings, groups: ReadonlySet<string>): void {
  const strict = [...raw.mounts, ...raw.files, ...raw.restart];
  for (const item of strict) {
    item.processes.forEach((group, i) => {
      if (groups.has(group)) return;
      const message = `there is no process group ${JSON.stringify(group.slice(0, 80))}`;
      findings.error(findings.at(item, "processes", i), "unknown-group", message, groupsRemedy(groups));
    });
  }
  for (const item of raw.vm) {
    item.processes.forEach((group, i) => {
      if (groups.has(group)) return;
      // Sizes steer nothing here, so a stale one is no reason to refuse.
      const message = `there is no process group ${JSON.stringify(group.slice(0, 80))}`;
      findings.warning(findings.at(item, "processes", i), "unknown-group", message, groupsRemedy(groups));
    });
    if (item.size !== undefined && !Object.hasOwn(GUEST_PRESETS, item.size)) {
      const message = `there is no size ${JSON.stringify(item.size.slice(0, 40))}; it is ignored`;
      const guess = nearest(item.size, Object.keys(GUEST_PRESETS));
      findings.warning(
        findings.at(item, "size"),
        "unknown-size",
        message,
        guess === undefined ? undefined : `did you mean ${guess}?`,
      );
    }
  }
  for (const item of raw.restart) {
    if (item.policy !== undefined || findings.isRefused(item, "policy")) continue;
    findings.error(
      findings.at(item),
      "missing-key",
      "the restart policy names no policy",
      'write policy = "on-failure"',
    );
  }
}

/** Largest values in GB. Source: superfly/flyctl internal/appconfig/validation.go, 2026-08-21. */
const EXTEND_BOUNDS = [
  ["auto_extend_size_increment", 100],
  ["auto_extend_size_limit", 500],
] as const;

function checkMounts(raw: RawFlyToml, findings: Findings, defaultGroup: string): void {
  const taken = new Map<string, string>();
  for (const mount of raw.mounts) {
    const { destination, initial_size: initial } = mount;
    const source = mount.source;
    if (source !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$/.test(source)) {
      const message = `${JSON.stringify(source.slice(0, 80))} is not a volume's name`;
      findings.error(findings.at(mount, "source"), "bad-volume-name", message, "use letters, digits, _ and -");
    }
    if (destination === undefined) {
      if (findings.isRefused(mount, "destination")) continue;
      findings.error(findings.at(mount), "missing-key", "the mount has no destination", 'write destination = "/data"');
    } else {
      checkDestination(destination, mount, findings);
      for (const group of mount.processes.length > 0 ? mount.processes : [defaultGroup]) {
        const place = `${group}\0${destination
          .split("/")
          .filter((part) => part !== "")
          .join("/")}`;
        if (taken.has(place)) {
          const message = `two mounts of group ${group} are at ${JSON.stringify(destination.slice(0, 80))}`;
          findings.error(findings.at(mount, "destination"), "same-destination", message);
        }
        taken.set(place, destination);
      }
    }
    if (initial !== undefined && initial < GB) {
      findings.error(
        findings.at(mount, "initial_size"),
        "volume-size",
        "initial_size is below 1 GB",
        'write "1GB" or more',
      );
    }
    for (const [name, max] of EXTEND_BOUNDS) {
      const value = mount[name];
      if (value === undefined || (value >= GB && value <= max * GB * 1.1)) continue;
      findings.error(findings.at(mount, name), "volume-size", `${name} is not from 1 GB to ${max} GB`);
    }
  }
}

function checkDestination(destination: string, mount: object, findings: Findings): void {
  const path = findings.at(mount, "destination");
  const parts = destination.split("/");
  if (parts.includes("..") || parts.every((part) => part === "" || part === ".")) {
    findings.error(path, "bad-destination", `${JSON.stringify(destination.slice(0, 80))} cannot be mounted over`);
  } else if (!destination.startsWith("/")) {
    const message = `destination ${JSON.stringify(destination.slice(0, 80))} is taken from the root: /${destination.slice(0, 80)}`;
    findings.warning(
      path,
      "relative-destination",
      message,
      `write destination = ${JSON.stringify(`/${destination.slice(0, 80)}`)}`,
    );
  }
}

function checkFiles(raw: RawFlyToml, findings: Findings): void {
  for (const file of raw.files) {
    if (file.guest_path === undefined) {
      if (findings.isRefused(file, "guest_path")) continue;
      findings.error(findings.at(file), "missing-key", "the file has no guest_path", "write guest_path = …");
    } else if (!file.guest_path.startsWith("/") || file.guest_path.split("/").includes("..")) {
      findings.error(
        findings.at(file, "guest_path"),
        "bad-guest-path",
        "guest_path must be an absolute path without ..",
      );
    }
    const given = [file.local_path, file.secret_name, file.raw_value].filter((value) => value !== undefined);
    if (given.length !== 1) {
      const message = `the file has ${given.length === 0 ? "no content" : "more than one content"}`;
      findings.error(findings.at(file), "file-content", message, "write one of local_path, secret_name and raw_value");
    }
    if (file.raw_value !== undefined && !/^[A-Za-z0-9+/]*={0,2}$/.test(file.raw_value.replaceAll(/\s/g, ""))) {
      findings.error(findings.at(file, "raw_value"), "bad-base64", "raw_value is not base64");
    }
  }
}

function checkRest(raw: RawFlyToml, findings: Findings): void {
  const timeout = raw.kill_timeout ?? raw.experimental?.kill_timeout;
  if (timeout !== undefined && timeout > 300_000) {
    const path = raw.kill_timeout === undefined ? ["experimental", "kill_timeout"] : ["kill_timeout"];
    findings.warning(path, "kill-timeout", "kill_timeout is lowered to 5 minutes", 'write kill_timeout = "5m"');
  }
  if (raw.deploy?.strategy === "canary" && raw.mounts.length > 0) {
    const message = "the strategy canary does not work with mounts";
    findings.error(["deploy", "strategy"], "canary-with-mounts", message, 'write strategy = "rolling"');
  }
}
