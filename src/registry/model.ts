/** What exists: the durable catalogue and the running state of Machines. Plain values; JSON in and out. */
import type { AppName, HostId, Ip6, MachineId, NetworkId, NetworkName, OrgSlug, RegionCode } from "../core/ids.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { Milliseconds, Monotonic, WallTime } from "../core/units.ts";
import type { Check, FileEntry, Guest, Mount, RestartPolicy, Service, Signal } from "../config/model.ts";

export interface Organisation {
  readonly slug: OrgSlug;
  readonly name: string;
  /** A small number for clients that want one. */
  readonly number: number;
  /** The user as whom Machines made through the API run. */
  readonly user: string | undefined;
  readonly createdAt: WallTime;
}

export interface Network {
  readonly id: NetworkId;
  readonly org: OrgSlug;
  readonly name: NetworkName;
  readonly createdAt: WallTime;
}

export interface App {
  readonly name: AppName;
  readonly number: number;
  readonly org: OrgSlug;
  /** The network that its Machines are on, for life. */
  readonly network: NetworkId;
  readonly primaryRegion: RegionCode | undefined;
  /** Postgres awareness, see design "Postgres". */
  readonly protocol: "auto" | "tcp" | "postgres";
  readonly idleSessions: "keep" | "end";
  /** Paths of the certificate and key for its `tls` ports. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  /** Networks whose apps may replay requests to this one, beside its own. By name: they need not be there yet. */
  readonly replayFrom?: readonly { readonly org: OrgSlug; readonly network: NetworkName }[] | undefined;
  readonly createdAt: WallTime;
}

export interface FlycastAddress {
  readonly address: Ip6;
  readonly app: AppName;
  /** The network whose clients may use it. */
  readonly network: NetworkId;
  readonly createdAt: WallTime;
}

export interface Peer {
  readonly name: string;
  readonly org: OrgSlug;
  readonly network: NetworkId;
  readonly region: RegionCode;
  readonly address: Ip6;
  /** Base64. */
  readonly publicKey: string;
  readonly createdAt: WallTime;
}

export interface Token {
  readonly id: string;
  readonly name: string;
  /** Undefined: the node's administrator. */
  readonly org: OrgSlug | undefined;
  /** Hex SHA-256 of the token. The token itself is never stored. */
  readonly hash: string;
  readonly createdAt: WallTime;
}

/** What a Machine runs and how. */
export interface MachineConfig {
  readonly command: readonly string[];
  /** Absolute path of the working directory. */
  readonly folder: string;
  /** Without the FLY_* variables, which the driver adds. Values may hold `${APP.flycast:PORT}`. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute path, read at each start; never stored by value. */
  readonly envFile: string | undefined;
  readonly user: string | undefined;
  readonly services: readonly Service[];
  /** Top-level checks: status only. */
  readonly checks: readonly Check[];
  /** `folder` holds a folder for each Machine, and in it one for each source. */
  readonly mounts: readonly (Mount & { readonly folder: string })[];
  readonly files: readonly FileEntry[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly processGroup: string;
  readonly stop: { readonly signal: Signal; readonly timeout: Milliseconds };
  readonly restart: RestartPolicy;
  readonly guest: Guest;
  /** Kept out of DNS. */
  readonly skipDns: boolean;
  readonly autoDestroy: boolean;
  /** The platform's own JSON, when the Machine was made through the API: given back as it came. */
  readonly raw: unknown;
}

export interface Machine {
  readonly id: MachineId;
  readonly name: string;
  readonly app: AppName;
  readonly network: NetworkId;
  readonly region: RegionCode;
  readonly host: HostId;
  /** Its 6PN address. Ends `:2`. */
  readonly address: Ip6;
  readonly config: MachineConfig;
  /** ULID of this version of the config. */
  readonly instance: string;
  readonly version: number;
  readonly cordoned: boolean;
  readonly createdAt: WallTime;
  readonly updatedAt: WallTime;
}

/** The states of `machines/transition.ts`; `publicState` turns them into the platform's names. */
export type MachineStateKind =
  | "created"
  | "starting"
  | "started"
  | "draining"
  | "stopping"
  | "stopped"
  | "suspending"
  | "suspended"
  | "failed"
  | "destroying"
  | "destroyed";

export interface CheckStatus {
  readonly name: string;
  readonly status: "passing" | "warning" | "critical";
  readonly output: string;
  readonly updatedAt: WallTime;
}

/** Running state of one Machine. Memory only, but for pid and start time, which its owner also keeps in a file. */
export interface MachineStatus {
  readonly state: MachineStateKind;
  /** Grows with each start, so that whatever belongs to an earlier life can be told apart. */
  readonly generation: number;
  readonly since: WallTime;
  readonly sinceMonotonic: Monotonic;
  /** Why it is in this state, for people: `idle for 10 s`, `started by a connection to [fdaa:…]:80`. */
  readonly because: string;
  readonly pid: number | undefined;
  readonly checks: readonly CheckStatus[];
  /** Internal ports of services whose checks fail: the Machine takes no new traffic for them. */
  readonly unhealthyPorts: ReadonlySet<number>;
  readonly lastExit:
    | { readonly code: number | undefined; readonly signal: string | undefined; readonly at: WallTime }
    | undefined;
  readonly lastFailure: { readonly code: ErrorCode; readonly message: string; readonly at: WallTime } | undefined;
}

export const NEVER_STARTED: MachineStatus = {
  state: "created",
  generation: 0,
  since: 0 as WallTime,
  sinceMonotonic: 0 as Monotonic,
  because: "created",
  pid: undefined,
  checks: [],
  unhealthyPorts: new Set(),
  lastExit: undefined,
  lastFailure: undefined,
};

/** The platform's name of a state (superfly/docs machines/machine-states). */
export function publicState(kind: MachineStateKind): string {
  // Users of the platform know no "draining": to them the Machine still runs.
  return kind === "draining" ? "started" : kind;
}
