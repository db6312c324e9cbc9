import type { RestartPolicy } from "../config/model.ts";
import { AppError } from "../core/errors.ts";
import { seconds } from "../core/units.ts";
import type { MachineConfig } from "../registry/model.ts";
import type { PlatformConfig } from "./platform-schemas.ts";
import { fromCheck, fromService } from "./platform-services.ts";
import { toDuration, toPort, toSignal } from "./platform-values.ts";

/** Where Machines made through the API run, and as whom. */
export interface ApiMachineHome {
  /** Working folder where the config names none. */
  readonly folder: string;
  readonly user: string | undefined;
  /** Where the folders of its volumes lie. */
  readonly volumes: string;
}

/**
 * A Machine's config from the platform's JSON. The command is `init.exec`, else entrypoint and cmd together, as a container
 * would run them; an image alone cannot be run by the process driver. `metadata.flycast_folder` names the working folder.
 * `before`: the Machine exists, and keeps what the platform's JSON has no words for: folder, user, env file.
 * @errors missing_command, invalid, and those of `home`, which is asked only for a new Machine or new mounts
 */
export function fromPlatform(
  config: PlatformConfig,
  home: () => ApiMachineHome,
  before?: MachineConfig,
): MachineConfig {
  const metadata = config.metadata ?? {};
  const place = before ?? home();
  const processGroup = metadata["fly_process_group"] ?? metadata["process_group"] ?? "app";
  const services = (config.services ?? []).flatMap((service) =>
    fromService(service, processGroup, config.disable_machine_autostart),
  );
  return {
    command: commandOf(config),
    folder: folderOf(metadata["flycast_folder"]) ?? place.folder,
    env: config.env ?? {},
    envFile: before?.envFile,
    user: place.user,
    services,
    checks: Object.entries(config.checks ?? {}).flatMap(([name, check]) => {
      const port = check.port ?? services[0]?.internalPort;
      return port === undefined ? [] : [fromCheck(check, name, toPort(port))];
    }),
    mounts: mountsOf(config, home, before),
    // A Machine of a workspace has files that its JSON does not show.
    files:
      config.files == null
        ? (before?.files ?? [])
        : config.files.map((file) => ({
            guestPath: absolutePath(file.guest_path, "files.guest_path"),
            localPath: undefined,
            secretName: file.secret_name ?? undefined,
            rawValue: file.raw_value ?? undefined,
          })),
    metadata,
    processGroup,
    stop: {
      signal: toSignal(config.stop_config?.signal ?? undefined),
      timeout: toDuration(config.stop_config?.timeout, seconds(5), "stop_config.timeout"),
    },
    restart: fromRestart(config.restart ?? undefined),
    guest: { cpus: config.guest?.cpus ?? undefined, memoryMb: config.guest?.memory_mb ?? undefined },
    skipDns: config.dns?.skip_registration ?? false,
    autoDestroy: config.auto_destroy ?? false,
    raw: config,
  };
}

const VOLUME_NAME = /^[A-Za-z0-9_]{1,64}$/;

function mountsOf(
  config: PlatformConfig,
  home: () => ApiMachineHome,
  before: MachineConfig | undefined,
): MachineConfig["mounts"] {
  if (config.mounts == null) return before?.mounts ?? [];
  return config.mounts.flatMap((mount) => {
    // One for each Machine, whatever its name: volumes do not wander between Machines here.
    const source = mount.volume || mount.name;
    if (!source || !mount.path) return [];
    if (!VOLUME_NAME.test(source)) {
      throw new AppError("invalid", `mounts: a volume's name has letters, digits and underscores, at most 64`);
    }
    const destination = absolutePath(mount.path, "mounts.path");
    const old = before?.mounts.find((one) => one.source === source);
    return [{ source, destination, folder: old?.folder ?? home().volumes }];
  });
}

function folderOf(text: string | undefined): string | undefined {
  return text === undefined ? undefined : absolutePath(text, "metadata.flycast_folder");
}

/** @errors invalid */
function absolutePath(text: string, what: string): string {
  if (!text.startsWith("/") || text.includes("\0") || text.split("/").includes(".."))
    throw new AppError("invalid", `${what}: must be an absolute path without ".."`);
  return text;
}

function commandOf(config: PlatformConfig): readonly string[] {
  // flyctl always sends `init`, empty where it has nothing to say.
  for (const init of [config.init, config.processes?.[0]]) {
    const command = init?.exec?.length ? init.exec : [...(init?.entrypoint ?? []), ...(init?.cmd ?? [])];
    if (command.some((word) => word.includes("\0")))
      throw new AppError("invalid", "config.init: a word holds a zero byte");
    if (command.length > 0 && command[0] !== "") return command;
  }
  throw new AppError(
    "missing_command",
    "the Machine's config names no command: set config.init.exec (or entrypoint and cmd) to a list of words. " +
      "Images are not run by this node's process driver.",
  );
}

function fromRestart(restart: PlatformConfig["restart"]): RestartPolicy {
  const policy = restart?.policy ?? "on-failure";
  return {
    policy: policy === "never" || policy === "spot-price" ? "no" : policy,
    // superfly/docs machines/guides: 10 tries.
    maxRetries: restart?.max_retries ?? 10,
  };
}
