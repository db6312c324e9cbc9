import { isAbsolute, resolve } from "node:path";
import { DEFAULT_NETWORK, PERSONAL_ORG, type RegionCode } from "../core/ids.ts";
import { parseRegionCode } from "../core/ids.ts";
import { coversServedDomain } from "../core/served-domains.ts";
import type { RawFlycastToml } from "./flycast-toml-schema.ts";
import type { Findings } from "./findings.ts";
import type { NodeConfig, RegionEntry } from "./model.ts";
import { nearest } from "./nearest.ts";
import { PLATFORM_REGIONS } from "./parse-fly-toml.ts";

/** Settings of the command line, which win over the file. */
export interface NodeOverrides {
  readonly networkMode?: NodeConfig["networkMode"];
  readonly stateDir?: string;
  readonly region?: RegionCode;
  readonly egress?: NodeConfig["egress"];
  readonly api?: NodeConfig["api"];
  readonly registry?: NodeConfig["registry"];
}

export interface NodeDefaults {
  /** Folder that relative paths of the file start from. */
  readonly folder: string;
  /** Where the state is when nobody says. */
  readonly stateDir: string;
  readonly cwd: string;
  readonly allow: ReadonlySet<string>;
  readonly overrides: NodeOverrides;
}

// Not a platform region on purpose: what runs on a laptop should not look as if it ran in Virginia.
const DEFAULT_REGION = "dev" as RegionCode;

/** Everything of flycast.toml but the apps, with every default filled in. */
export function normaliseNode(raw: RawFlycastToml, findings: Findings, defaults: NodeDefaults): NodeConfig {
  const { overrides } = defaults;
  const own = raw.node.region ?? DEFAULT_REGION;
  const region = overrides.region ?? own;
  const fileStateDir =
    raw.node.state_dir === undefined ? defaults.stateDir : resolve(defaults.folder, raw.node.state_dir);
  const { limits } = raw;
  return {
    region,
    // What is typed on a command line is relative to where it is typed.
    stateDir: overrides.stateDir === undefined ? fileStateDir : resolve(defaults.cwd, overrides.stateDir),
    registry: overrides.registry ?? raw.node.registry,
    networkMode: overrides.networkMode ?? raw.node.network_mode,
    egress: overrides.egress ?? raw.node.egress,
    api: overrides.api ?? raw.node.api,
    trustProxyProtocol: raw.node.trust_proxy_protocol,
    hostNetworks: raw.node.host_networks ?? [{ org: PERSONAL_ORG, network: DEFAULT_NETWORK }],
    trace: raw.node.trace,
    wireguard: normaliseWireguard(raw.node, findings),
    autostop: raw.autostop,
    limits: {
      wakeTimeout: limits.wake_timeout,
      queueTimeout: limits.queue_timeout,
      queueLength: limits.queue_length,
      connectTimeout: limits.connect_timeout,
      headTimeout: limits.head_timeout,
      keepaliveTimeout: limits.keepalive_timeout,
      halfClosedTimeout: limits.half_closed_timeout,
      drainTimeout: limits.drain_timeout,
      holdBuffer: limits.hold_buffer,
      replayMemory: limits.replay_memory,
      connections: limits.connections,
      perNetwork: limits.per_network,
      starts: limits.starts,
    },
    dns: { upstreams: raw.dns.upstreams, forward: normaliseForward(raw.dns.forward, findings) },
    regions: normaliseRegions(raw, findings, region),
    compatAllow: new Set([...raw.compat.allow, ...defaults.allow]),
  };
}

const EVERY_ADDRESS = /^(?:0\.0\.0\.0|[0:]+)$/;

function normaliseWireguard(raw: RawFlycastToml["node"], findings: Findings): NodeConfig["wireguard"] {
  const { wireguard, wireguard_endpoint: endpoint } = raw;
  if (wireguard === undefined) {
    if (endpoint !== undefined) {
      const path = ["node", "wireguard_endpoint"];
      findings.error(
        path,
        "missing-key",
        "wireguard_endpoint means nothing alone",
        'write wireguard = "0.0.0.0:51820"',
      );
    }
    return undefined;
  }
  if (endpoint === undefined && EVERY_ADDRESS.test(wireguard.host)) {
    const message = `clients cannot be told to connect to ${wireguard.host}`;
    findings.error(["node", "wireguard"], "missing-key", message, 'add wireguard_endpoint = "vpn.example.com"');
  }
  return { ...wireguard, endpoint: endpoint ?? wireguard.host };
}

/** Region codes that this node knows: the platform's, those of `[regions]`, its own. */
export function knownRegions(raw: RawFlycastToml, overrides: NodeOverrides): ReadonlySet<string> {
  return new Set([
    ...PLATFORM_REGIONS,
    ...raw.regions.keys(),
    raw.node.region ?? DEFAULT_REGION,
    overrides.region ?? DEFAULT_REGION,
  ]);
}

function normaliseRegions(raw: RawFlycastToml, findings: Findings, own: RegionCode): readonly RegionEntry[] {
  const known = new Set([...PLATFORM_REGIONS, ...raw.regions.keys(), own]);
  return [...raw.regions].flatMap(([name, region]) => {
    const path = findings.at(region);
    const code = parseRegionCode(name);
    if (!code.ok) {
      findings.error(path, "bad-region", code.error, "use lower-case letters and digits");
      return [];
    }
    if ((region.lat === undefined) !== (region.lon === undefined)) {
      findings.error(path, "missing-key", "lat and lon come together", "write both, or none");
    }
    const rttMs = new Map<RegionCode, number>();
    for (const [other, value] of region.rtt_ms) {
      const target = parseRegionCode(other);
      if (target.ok && known.has(other)) rttMs.set(target.value, value);
      else {
        const guess = nearest(other, known);
        const remedy = guess === undefined ? `add [regions.${other.slice(0, 40)}]` : `did you mean "${guess}"?`;
        const message = `there is no region ${JSON.stringify(other.slice(0, 40))}`;
        findings.error([...path, "rtt_ms", other], "unknown-region", message, remedy);
      }
    }
    return [{ code: code.value, lat: region.lat, lon: region.lon, rttMs }];
  });
}

const DOMAIN = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?$/i;

function normaliseForward(raw: ReadonlyMap<string, string>, findings: Findings): ReadonlyMap<string, string> {
  const forward = new Map<string, string>();
  for (const [domain, upstream] of raw) {
    if (domain.length > 253 || !DOMAIN.test(domain)) {
      const message = `${JSON.stringify(domain.slice(0, 80))} is not a domain`;
      findings.error(["dns", "forward", domain], "bad-domain", message, 'write "example.internal" = "10.0.0.53"');
      continue;
    }
    const plain = domain.toLowerCase().replace(/\.$/, "");
    if (coversServedDomain(plain)) {
      const message = `${JSON.stringify(domain)} is served here`;
      findings.error(["dns", "forward", domain], "bad-domain", message, `name a domain below it: "corp.${plain}"`);
    } else {
      forward.set(plain, upstream);
    }
  }
  return forward;
}

/** An absolute path from one in the file. */
export function resolveIn(folder: string, path: string): string {
  return isAbsolute(path) ? path : resolve(folder, path);
}
