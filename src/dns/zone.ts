/**
 * Names to data: `.internal` and `.flycast` as one asker sees them (superfly/docs networking/private-networking and
 * networking/flycast, 2026-08-07). Everything is looked up on the asker's own network, so that nothing of another
 * network can be named, let alone resolved. Where the platform's behaviour is not published, ours is: what does not
 * exist is NXDOMAIN; what exists and has nothing to show now is an empty answer.
 */
import { REGIONS } from "../core/regions.ts";
import { SERVED_DOMAINS } from "../core/served-domains.ts";
import { parseAppName, parseMachineId, type AppName, type Ip6, type NetworkId, type RegionCode } from "../core/ids.ts";
import { dnsAddress } from "../network/address.ts";
import type { App, Machine } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import { keyOf, labelsOf } from "./codec.ts";

/** Who asks. */
export interface Asker {
  /** The network whose names are answered. */
  readonly network: NetworkId;
  /** Where the asker stands: `top<N>.nearest.of` is measured from here. */
  readonly region: RegionCode;
}

/** Round-trip time between two regions, measured or estimated, in milliseconds: smaller is closer. */
export type Closeness = (from: RegionCode, to: RegionCode) => number;

/** What a name stands for. A name has addresses or text, never both; other types of a name that exists are empty. */
export type Node =
  /** `order`: `kept` when it means something, `any` when it should be shuffled. */
  | { readonly kind: "addresses"; readonly addresses: readonly Ip6[]; readonly order: "kept" | "any" }
  /** Empty: there is nothing to list now. */
  | { readonly kind: "text"; readonly text: string }
  /** Exists only because names below it do, or is the zone itself. */
  | { readonly kind: "empty" };

export type ZoneName = keyof typeof SERVED_DOMAINS;
export interface Zone {
  readonly name: ZoneName;
  /** Wire form, as in `Query.key`. */
  readonly apex: string;
}

const zone = (name: ZoneName): Zone => ({ name, apex: keyOf(SERVED_DOMAINS[name].split(".")) });

/** The zones that are ours and never forwarded. */
export const ZONES: readonly Zone[] = [zone("internal"), zone("flycast"), zone("reverse")];

/** The zone that a name belongs to; undefined for everybody else's names. */
export function zoneOf(key: string): Zone | undefined {
  for (const zone of ZONES) if (isUnder(key, zone.apex)) return zone;
  return undefined;
}

/** Whether a name equals `apex` or lies below it. Both as in `Query.key`. */
export function isUnder(key: string, apex: string): boolean {
  if (!key.endsWith(apex)) return false;
  const boundary = key.length - apex.length;
  let offset = 0;
  // The same bytes can also stand inside a label: only a boundary between labels counts.
  while (offset < boundary) offset += 1 + key.charCodeAt(offset);
  return offset === boundary;
}

/** What a name of ours stands for. Undefined: there is no such name on the asker's network. */
export function lookUp(
  view: RegistryView,
  asker: Asker,
  zone: Zone,
  key: string,
  closeness: Closeness,
): Node | undefined {
  const labels = labelsOf(key.slice(0, key.length - zone.apex.length));
  if (labels.length === 0) return EMPTY;
  switch (zone.name) {
    case "flycast":
      return flycastName(view, asker, labels);
    case "internal":
      return internalName(view, asker, labels, closeness);
    case "reverse":
      return undefined;
  }
}

const EMPTY: Node = { kind: "empty" };

function flycastName(view: RegistryView, asker: Asker, labels: readonly string[]): Node | undefined {
  const name = parseAppName(labels[0] ?? "");
  if (labels.length !== 1 || !name.ok) return undefined;
  // An address is visible where it lives, whoever owns the app; whether a Machine runs makes no difference.
  const addresses = view
    .addressesOf(name.value)
    .filter((entry) => entry.network === asker.network)
    .map((entry) => entry.address);
  if (addresses.length === 0 && ownApp(view, asker, name.value) === undefined) return undefined;
  return { kind: "addresses", addresses, order: "any" };
}

function internalName(
  view: RegistryView,
  asker: Asker,
  labels: readonly string[],
  closeness: Closeness,
): Node | undefined {
  const last = labels[labels.length - 1] ?? "";
  const before = labels.slice(0, -1);
  if (last.startsWith("_")) return networkName(view, asker, last, before);
  const name = parseAppName(last);
  const app = name.ok ? ownApp(view, asker, name.value) : undefined;
  return app === undefined ? undefined : appName(view, asker, app, before, closeness);
}

function ownApp(view: RegistryView, asker: Asker, name: AppName): App | undefined {
  const app = view.app(name);
  return app?.network === asker.network ? app : undefined;
}

function networkName(view: RegistryView, asker: Asker, last: string, before: readonly string[]): Node | undefined {
  const form = formOf(before);
  switch (last) {
    case "_api":
      return before.length === 0 ? addresses([dnsAddress(asker.network)]) : undefined;
    case "_apps":
      return before.length === 0 ? text([...view.appsOn(asker.network)].map((app) => app.name)) : undefined;
    case "_instances": {
      if (form === undefined) return undefined;
      const machines = visible(view, view.machinesOn(asker.network), form);
      // Commas inside, semicolons between: that is what the platform sends, whatever its table says.
      return text(
        machines.map((m) => `instance=${m.id},app=${m.app},ip=${m.address},region=${m.region}`),
        ";",
      );
    }
    case "_peer": {
      if (before.length > 0) return peerName(view, asker, before.join("."));
      const names = [...view.peersOn(asker.network)].map((peer) => peer.name);
      return text(names.filter((name) => !name.startsWith("interactive-")));
    }
    default:
      return undefined;
  }
}

function peerName(view: RegistryView, asker: Asker, name: string): Node | undefined {
  for (const peer of view.peersOn(asker.network)) {
    if (peer.name.toLowerCase() === name) return addresses([peer.address]);
  }
  return undefined;
}

/** `started`: what runs. `all`: what is deployed, running or not. */
type Form = "started" | "all";

function formOf(labels: readonly string[]): Form | undefined {
  if (labels.length === 0) return "started";
  return labels.length === 1 && labels[0] === "all" ? "all" : undefined;
}

function appName(
  view: RegistryView,
  asker: Asker,
  app: App,
  labels: readonly string[],
  closeness: Closeness,
): Node | undefined {
  const kind = labels[labels.length - 1];
  const before = labels.slice(0, -1);
  if (kind === "vm") return before.length === 0 ? EMPTY : oneMachine(view, app, before.join("."));
  const deployed = visible(view, view.machinesOf(app.name), "all");
  const started = (of: readonly Machine[]): Node =>
    addresses(of.filter((m) => isStarted(view, m)).map((m) => m.address));
  /** Of the Machines that a name selects: the running ones, or no such name when nothing deployed fits it. */
  const selection = (fits: (machine: Machine) => boolean): Node | undefined => {
    const selected = deployed.filter(fits);
    return selected.length === 0 ? undefined : started(selected);
  };

  switch (kind) {
    case undefined:
      return started(deployed);
    case "global":
      return before.length === 0 ? started(deployed) : undefined;
    case "vms":
    case "regions": {
      const form = formOf(before);
      if (form === undefined) return undefined;
      const listed = form === "all" ? deployed : deployed.filter((m) => isStarted(view, m));
      return text(kind === "vms" ? listed.map((m) => `${m.id} ${m.region}`) : listed.map((m) => m.region));
    }
    case "all":
      return before.length === 0 ? EMPTY : undefined;
    case "process": {
      if (before.length === 0) return EMPTY;
      const group = before.join(".");
      return selection((m) => m.config.processGroup.toLowerCase() === group);
    }
    case "of":
      return nearest(view, asker, deployed, before, closeness);
    case "_metadata":
      return metadata(deployed, before, selection);
    default:
      if (before.length > 0) return undefined;
      return selection((m) => m.region === kind) ?? (KNOWN_REGIONS.has(kind) ? addresses([]) : undefined);
  }
}

function oneMachine(view: RegistryView, app: App, label: string): Node | undefined {
  const id = parseMachineId(label);
  const machine = id.ok ? view.machine(id.value) : undefined;
  if (machine?.app !== app.name || visible(view, [machine], "all").length === 0) return undefined;
  return addresses(isStarted(view, machine) ? [machine.address] : []);
}

const KNOWN_REGIONS: ReadonlySet<string> = new Set(REGIONS.map((region) => region.code));
/** More than any answer can hold; longer numbers are no names of ours. */
const TOP = /^top([1-9][0-9]{0,3})$/;

function nearest(
  view: RegistryView,
  asker: Asker,
  deployed: readonly Machine[],
  before: readonly string[],
  closeness: Closeness,
): Node | undefined {
  if (before.length === 0) return EMPTY;
  if (before[before.length - 1] !== "nearest" || before.length > 2) return undefined;
  if (before.length === 1) return EMPTY;
  const match = TOP.exec(before[0] ?? "");
  if (match === null) return undefined;
  const byDistance = deployed
    .filter((m) => isStarted(view, m))
    .map((m) => ({ machine: m, distance: m.region === asker.region ? -1 : closeness(asker.region, m.region) }))
    .toSorted((a, b) => a.distance - b.distance || (a.machine.id < b.machine.id ? -1 : 1));
  const chosen = byDistance.slice(0, Number(match[1])).map((entry) => entry.machine.address);
  return { kind: "addresses", addresses: chosen, order: "kept" };
}

/** `<value>.<key>.kv._metadata`. Names know no case, so neither does the comparison; a value may span several labels. */
function metadata(
  deployed: readonly Machine[],
  before: readonly string[],
  selection: (fits: (machine: Machine) => boolean) => Node | undefined,
): Node | undefined {
  if (before.length === 0) return EMPTY;
  if (before[before.length - 1] !== "kv") return undefined;
  const wanted = before.slice(0, -1).join(".");
  if (wanted === "") return EMPTY;
  const pairs = (m: Machine): (readonly [string, string])[] => [
    // The platform writes this one itself into every Machine's metadata.
    ["fly_process_group", m.config.processGroup],
    ...Object.entries(m.config.metadata),
  ];
  const found = selection((m) => pairs(m).some(([key, value]) => `${value}.${key}`.toLowerCase() === wanted));
  if (found !== undefined) return found;
  return deployed.some((m) => pairs(m).some(([key]) => key.toLowerCase() === wanted)) ? EMPTY : undefined;
}

function visible(view: RegistryView, machines: Iterable<Machine>, form: Form): Machine[] {
  const found: Machine[] = [];
  for (const machine of machines) {
    if (machine.config.skipDns) continue;
    const { state } = view.status(machine.id);
    const counts =
      form === "all" ? state !== "destroying" && state !== "destroyed" : state === "started" || state === "draining";
    if (counts) found.push(machine);
  }
  return found;
}

function isStarted(view: RegistryView, machine: Machine): boolean {
  const { state } = view.status(machine.id);
  // A draining Machine still serves those who know it, and may be taken back.
  return state === "started" || state === "draining";
}

function addresses(list: readonly Ip6[]): Node {
  return { kind: "addresses", addresses: list, order: "any" };
}

/** One TXT record holds at most this much: 65,535 bytes a message, less header, question, OPT and length bytes. */
const TEXT_SIZE = 64_000;

/** Sorted, each once: who compares two answers sees a change only where there is one. */
function text(items: readonly string[], separator = ","): Node {
  const whole = [...new Set(items)].toSorted().join(separator);
  if (whole.length <= TEXT_SIZE) return { kind: "text", text: whole };
  // Whole items only: half a Machine id would be worse than none.
  return { kind: "text", text: whole.slice(0, whole.lastIndexOf(separator, TEXT_SIZE)) };
}
