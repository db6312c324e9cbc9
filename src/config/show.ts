import { stringify } from "smol-toml";
import { ms } from "../core/units.ts";
import { formatBytes } from "./bytes.ts";
import { formatDuration } from "./duration.ts";
import { shown, type ShownTable } from "./shown.ts";
import { showFlyToml } from "./show-fly-toml.ts";
import type { AppConfig, NodeConfig, Workspace, WorkspaceApp } from "./model.ts";

/** A normalised fly.toml in fly.toml's own keys, with every default written out. Reads back as the same config. */
export function showApp(config: AppConfig, format: "toml" | "json"): string {
  return write(showFlyToml(config), format);
}

/** A normalised workspace in flycast.toml's keys; each app also has its fly.toml, under that name. */
export function showWorkspace(workspace: Workspace, format: "toml" | "json"): string {
  const apps: Record<string, ShownTable> = {};
  for (const app of workspace.apps) apps[app.name] = { ...showWorkspaceApp(app), "fly.toml": showFlyToml(app.config) };
  return write({ ...showNode(workspace.node), apps }, format);
}

function write(table: ShownTable, format: "toml" | "json"): string {
  return format === "json" ? `${JSON.stringify(table, null, 2)}\n` : `${stringify(table)}\n`;
}

/** The sections of flycast.toml but the apps. A Redis URL is shown without its password. */
export function showNode(node: NodeConfig): ShownTable {
  const { limits } = node;
  const time = (value: number) => formatDuration(ms(value));
  return shown({
    node: shown({
      region: node.region,
      state_dir: node.stateDir,
      registry: node.registry.kind === "file" ? "file" : withoutPassword(node.registry.url),
      network_mode: node.networkMode,
      egress: node.egress,
      api: node.api === undefined ? undefined : hostPortText(node.api),
      trust_proxy_protocol: node.trustProxyProtocol,
      host_networks: node.hostNetworks.map(networkText),
      trace: node.trace,
      wireguard: node.wireguard === undefined ? undefined : hostPortText(node.wireguard),
      wireguard_endpoint: node.wireguard?.endpoint,
    }),
    autostop: { interval: time(node.autostop.interval), idle: time(node.autostop.idle) },
    limits: {
      wake_timeout: time(limits.wakeTimeout),
      queue_timeout: time(limits.queueTimeout),
      queue_length: limits.queueLength,
      connect_timeout: time(limits.connectTimeout),
      head_timeout: time(limits.headTimeout),
      keepalive_timeout: time(limits.keepaliveTimeout),
      half_closed_timeout: time(limits.halfClosedTimeout),
      drain_timeout: time(limits.drainTimeout),
      hold_buffer: formatBytes(limits.holdBuffer),
      replay_memory: formatBytes(limits.replayMemory),
      connections: limits.connections,
      per_network: limits.perNetwork,
      starts: limits.starts,
    },
    dns: { upstreams: node.dns.upstreams, forward: Object.fromEntries(node.dns.forward) },
    regions: Object.fromEntries(
      node.regions.map(({ code, lat, lon, rttMs }) => [code, shown({ lat, lon, rtt_ms: Object.fromEntries(rttMs) })]),
    ),
    compat: { allow: [...node.compatAllow] },
  });
}

function showWorkspaceApp(app: WorkspaceApp): ShownTable {
  const machines: Record<string, Record<string, number>> = {};
  for (const { group, region, count } of app.machines) (machines[group] ??= {})[region] = count;
  return shown({
    path: app.file,
    org: app.org,
    network: app.network,
    machines,
    flycast: app.flycast.map(networkText),
    replay_from: app.replayFrom.map(networkText),
    command: app.commands,
    env: app.env,
    env_file: app.envFile,
    volumes: app.volumes,
    metadata: app.metadata,
    user: app.user,
    publish: Object.fromEntries([...app.publish].map(([port, target]) => [String(port), hostPortText(target)])),
    protocol: app.protocol,
    idle_sessions: app.idleSessions,
    tls: app.tls === undefined ? undefined : { cert: app.tls.cert, key: app.tls.key },
  });
}

function networkText(ref: { readonly org: string; readonly network: string }): string {
  return `${ref.org}/${ref.network}`;
}

function hostPortText(target: { readonly host: string; readonly port: number }): string {
  return target.host.includes(":") ? `[${target.host}]:${target.port}` : `${target.host}:${target.port}`;
}

function withoutPassword(url: string): string {
  const parsed = new URL(url);
  if (parsed.password !== "") parsed.password = "***";
  return parsed.href;
}
