import { DEFAULT_NETWORK, PERSONAL_ORG, parseRegionCode, type AppName, type RegionCode } from "../core/ids.ts";
import { parsePort, type Port } from "../core/units.ts";
import type { RawApp } from "./flycast-toml-schema.ts";
import type { Findings } from "./findings.ts";
import type { AppConfig, NodeConfig, WorkspaceApp } from "./model.ts";
import { nearest } from "./nearest.ts";
import { resolveIn } from "./normalise-node.ts";
import { checkReferences, referencedApps } from "./references.ts";

export interface AppPlace {
  /** Absolute folder that the paths of flycast.toml start from. */
  readonly base: string;
  readonly folder: string;
  readonly file: string;
}

/** `[apps.NAME]` and its fly.toml as one value. Reports what does not fit together; undefined commands are left out. */
export function normaliseWorkspaceApp(
  raw: RawApp,
  config: AppConfig,
  node: NodeConfig,
  place: AppPlace,
  findings: Findings,
  regions: ReadonlySet<string>,
): WorkspaceApp {
  const org = raw.org ?? PERSONAL_ORG;
  const network = raw.network ?? DEFAULT_NETWORK;
  const groups = config.groups.map((group) => group.name);
  if (raw.flycast?.length === 0 && config.services.length > 0) {
    const message = "the app has services and no address";
    findings.error(findings.at(raw, "flycast"), "no-address", message, `write flycast = ["${org}"], or leave it out`);
  }
  const tls = raw.tls;
  if (tls !== undefined && (tls.cert === undefined || tls.key === undefined)) {
    findings.error(findings.at(tls), "missing-key", "tls needs cert and key", 'write tls = { cert = "…", key = "…" }');
  }
  return {
    name: config.name,
    folder: place.folder,
    file: place.file,
    config,
    org,
    network,
    machines: machineCounts(raw, config, node.region, findings, regions),
    flycast: raw.flycast ?? [{ org, network }],
    replayFrom: raw.replay_from,
    commands: commands(raw, config, groups, findings),
    env: Object.fromEntries(checkedEnv(raw, findings)),
    envFile: raw.env_file === undefined ? undefined : resolveIn(place.base, raw.env_file),
    volumes: resolveIn(raw.volumes === undefined ? node.stateDir : place.base, raw.volumes ?? "volumes"),
    metadata: Object.fromEntries(raw.metadata),
    user: raw.user,
    publish: published(raw, config, findings),
    protocol: raw.protocol,
    idleSessions: raw.idle_sessions,
    tls:
      tls?.cert === undefined || tls.key === undefined
        ? undefined
        : { cert: resolveIn(place.base, tls.cert), key: resolveIn(place.base, tls.key) },
  };
}

function unknownGroup(
  group: string,
  groups: readonly string[],
  path: readonly (string | number)[],
  findings: Findings,
) {
  const message = `there is no process group ${JSON.stringify(group.slice(0, 80))} in fly.toml`;
  findings.error(path, "unknown-group", message, `the groups are ${groups.join(", ")}`);
}

function machineCounts(
  raw: RawApp,
  config: AppConfig,
  own: RegionCode,
  findings: Findings,
  regions: ReadonlySet<string>,
): WorkspaceApp["machines"] {
  const groups = config.groups.map((group) => group.name);
  const counts: { group: string; region: RegionCode; count: number }[] = [];
  const given = raw.machines;
  if (given === undefined) {
    return groups.map((group) => ({ group, region: config.primaryRegion ?? own, count: 1 }));
  }
  for (const [name, byRegion] of given) {
    const path = name === "" ? findings.at(raw, "machines") : findings.at(raw, "machines", name);
    if (name !== "" && !groups.includes(name)) unknownGroup(name, groups, path, findings);
    for (const [code, count] of byRegion) {
      const region = parseRegionCode(code);
      if (!region.ok || !regions.has(code)) {
        const guess = nearest(code, regions);
        const add = `add [regions.${/^[a-z][a-z0-9]*$/.test(code) ? code : "NAME"}] with lat and lon`;
        const message = `there is no region ${JSON.stringify(code.slice(0, 40))}`;
        const remedy = guess === undefined ? add : `write ${guess}, or ${add}`;
        findings.error([...path, code], "unknown-region", message, remedy);
        continue;
      }
      for (const group of name === "" ? groups : [name]) counts.push({ group, region: region.value, count });
    }
  }
  // Groups that the table leaves out have one Machine, like apps that have no table at all.
  for (const group of groups) {
    if (given.has("") || given.has(group)) continue;
    counts.push({ group, region: config.primaryRegion ?? own, count: 1 });
  }
  return counts.toSorted((a, b) => order(a.group, b.group) || order(a.region, b.region));
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function commands(
  raw: RawApp,
  config: AppConfig,
  groups: readonly string[],
  findings: Findings,
): WorkspaceApp["commands"] {
  const given = raw.command ?? new Map<string, readonly string[]>();
  for (const group of given.keys()) {
    if (group === "" || groups.includes(group)) continue;
    unknownGroup(group, groups, findings.at(raw, "command", group), findings);
  }
  const entries = config.groups.flatMap((group) => {
    const words = given.get(group.name) ?? given.get("") ?? group.command;
    return words === undefined ? [] : [[group.name, words] as const];
  });
  return Object.fromEntries(entries);
}

function checkedEnv(raw: RawApp, findings: Findings): ReadonlyMap<string, string> {
  for (const name of raw.env.keys()) {
    if (/^[^=\0]{1,1024}$/.test(name)) continue;
    findings.error([...findings.at(raw.env), name], "bad-env-name", "a variable's name may not be empty or hold =");
  }
  return raw.env;
}

function published(raw: RawApp, config: AppConfig, findings: Findings): WorkspaceApp["publish"] {
  const targets = new Map<Port, { host: string; port: Port }>();
  for (const [text, target] of raw.publish) {
    const path = [...findings.at(raw.publish), text];
    const external = /^\d{1,5}$/.test(text) ? parsePort(Number(text)) : undefined;
    if (external?.ok !== true) {
      const remedy = 'write publish = { "80" = 8080 }';
      findings.error(path, "bad-port", `${JSON.stringify(text.slice(0, 40))} is not a port`, remedy);
      continue;
    }
    const number = external.value;
    const listed = config.services.some((service) =>
      service.ports.some((range) => number >= range.start && number <= range.end),
    );
    if (!listed) {
      const ports = config.services.flatMap((service) => service.ports.map((range) => range.start));
      const remedy = ports.length === 0 ? "the app has no ports" : `the app's ports are ${ports.join(", ")}`;
      findings.error(path, "unpublished-port", `no service of the app has port ${number}`, remedy);
      continue;
    }
    if (!/^(127\.|::1$)/.test(target.host)) {
      const message = `port ${number} is published on ${target.host}: everybody who reaches that address reaches the app`;
      findings.warning(path, "public-port", message, `write ${target.port} to publish it on 127.0.0.1`);
    }
    targets.set(number, target);
  }
  return targets;
}

/** References in the env of every app must name an app of the workspace and one of its ports. */
export function checkWorkspaceReferences(
  apps: readonly { readonly raw: RawApp; readonly app: WorkspaceApp }[],
  names: ReadonlySet<string>,
  findings: Findings,
): void {
  const ports = new Map<AppName, WorkspaceApp["config"]["services"]>(
    apps.map(({ app }) => [app.name, app.config.services]),
  );
  for (const { raw, app } of apps) {
    for (const [name, value] of Object.entries(app.env)) {
      for (const problem of checkReferences(value, ports, names)) {
        findings.error([...findings.at(raw.env), name], "bad-reference", problem.message, problem.remedy);
      }
      for (const target of referencedApps(value)) {
        const other = apps.find((one) => one.app.name === target)?.app;
        const own = (ref: { org: string; network: string }) => ref.org === app.org && ref.network === app.network;
        if (other === undefined || other.flycast.some(own)) continue;
        const message = `${target} has no address on ${app.org}/${app.network}, where ${app.name} runs`;
        const remedy = `add "${app.org}/${app.network}" to flycast of [apps.${target}]`;
        findings.warning([...findings.at(raw.env), name], "unreachable-reference", message, remedy);
      }
    }
  }
}

/** Two ports of this computer cannot be one. An address of all interfaces takes the port of every other. */
export function checkPublishedTwice(
  apps: readonly { readonly raw: RawApp; readonly app: WorkspaceApp }[],
  findings: Findings,
): void {
  const taken: { host: string; port: Port; by: string }[] = [];
  for (const { raw, app } of apps) {
    for (const [external, { host, port }] of app.publish) {
      const other = taken.find(
        (one) => one.port === port && (one.host === host || isEveryAddress(one.host) || isEveryAddress(host)),
      );
      if (other !== undefined) {
        const message = `port ${port} of ${host} is published for ${other.by} already`;
        findings.error(findings.at(raw.publish, String(external)), "published-twice", message, "choose another port");
      }
      taken.push({ host, port, by: `${app.name}:${external}` });
    }
  }
}

function isEveryAddress(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}
