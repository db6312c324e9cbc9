/** The environment that a Machine starts with. Pure: files and the node's own environment come in as values. */
import type { App, Machine } from "../registry/model.ts";

export type Environment = Readonly<Record<string, string>>;

export interface EnvironmentInput {
  readonly machine: Machine;
  readonly app: Pick<App, "primaryRegion">;
  /** The node's own environment, of which a Machine gets only what any program needs: see `INHERITED`. */
  readonly host: Readonly<Record<string, string | undefined>>;
  /** What `fly secrets` would hold, from `env_file`. Wins over `[env]`, as on the platform. */
  readonly secrets: Environment;
  /** Fills in `${APP.flycast:PORT}` in a value of `[env]`. Whatever it throws comes through. */
  readonly resolve: (value: string) => string;
}

// Never the whole: the node's environment holds its own tokens and the settings of the shell that started it.
const INHERITED = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TERM"] as const;
const DEFAULTS = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" };

/**
 * Complete but for what the driver alone knows (PORT and HOST in loopback mode, the user's HOME, volumes).
 * FLY_* as in reference "Inside a Machine"; FLY_PUBLIC_IP is missing because there is none.
 */
export function machineEnvironment(input: EnvironmentInput): Record<string, string> {
  const { machine, app, host, secrets } = input;
  const inherited = INHERITED.flatMap((name) => {
    const value = host[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const own = Object.entries(machine.config.env).map(([name, value]) => [name, input.resolve(value)] as const);
  return {
    ...DEFAULTS,
    ...Object.fromEntries(inherited),
    ...Object.fromEntries(own),
    ...secrets,
    ...flyVariables(machine, app),
  };
}

function flyVariables(machine: Machine, app: Pick<App, "primaryRegion">): Record<string, string> {
  const { memoryMb } = machine.config.guest;
  return {
    FLY_APP_NAME: machine.app,
    FLY_REGION: machine.region,
    FLY_PROCESS_GROUP: machine.config.processGroup,
    ...(app.primaryRegion === undefined ? {} : { PRIMARY_REGION: app.primaryRegion }),
    FLY_MACHINE_ID: machine.id,
    FLY_ALLOC_ID: machine.id,
    FLY_MACHINE_VERSION: machine.instance,
    FLY_PRIVATE_IP: machine.address,
    FLY_IMAGE_REF: imageOf(machine.config.raw),
    ...(memoryMb === undefined ? {} : { FLY_VM_MEMORY_MB: String(memoryMb) }),
  };
}

/** The image that a client of the API named. A Machine of a workspace has none, and apps print the variable unchecked. */
function imageOf(raw: unknown): string {
  if (typeof raw === "object" && raw !== null && "image" in raw && typeof raw.image === "string") return raw.image;
  return "none";
}
