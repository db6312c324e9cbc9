import { createHash } from "node:crypto";
import { AppError } from "../../core/errors.ts";
import { REGIONS, type Region } from "../../core/regions.ts";
import type { PortRoute } from "../../registry/view.ts";
import type { MachineHistoryEntry } from "../platform-json.ts";
import type { Release } from "../releases.ts";

/** Whoever has the token; the node knows no people. */
export const USER = {
  __typename: "User",
  id: "user",
  name: "Flycast",
  email: "flycast@localhost",
  enablePaidHobby: true,
};

export function releaseShape(release: Release): object {
  return {
    ...release,
    stable: true,
    inProgress: false,
    description: "Deployed",
    reason: "deploy",
    status: "complete",
    deploymentStrategy: "ROLLING",
    evaluationId: null,
    // Clients then make the configuration from the Machines, which is the truth.
    configDefinition: null,
    metadata: null,
    user: null,
    updatedAt: release.createdAt,
  };
}

/**
 * An image is a name here and never fetched. Clients want a digest before they make a Machine, so a name has the digest of
 * its text: equal names, equal digests.
 */
export function imageShape(ref: string, now: number): object {
  const match = /^(?:([^/]*[.:][^/]*|localhost)\/)?([^:@]+)(?::([^@]*))?(?:@(.*))?$/.exec(ref);
  if (match === null || ref.length > 1024)
    throw new AppError("invalid", `"${ref.slice(0, 64)}" is not the name of an image`);
  const [, registry = "docker.io", repository = "", tag = "latest", given] = match;
  const digest = given ?? `sha256:${createHash("sha256").update(ref).digest("hex")}`;
  return {
    id: digest,
    ref,
    absoluteRef: `${registry}/${repository}:${tag}@${digest}`,
    registry,
    repository,
    tag,
    label: tag,
    digest,
    configDigest: digest,
    config: {},
    manifest: {},
    compressedSize: 0,
    compressedSizeFull: "0",
    createdAt: new Date(now).toISOString(),
  };
}

/** What an app listens on, each service once. */
export function servicesShape(routes: readonly PortRoute[]): readonly object[] {
  const services = new Map<PortRoute["service"], PortRoute["port"][]>();
  for (const { service, port } of routes) services.set(service, [...(services.get(service) ?? []), port]);
  return [...services].map(([service, ports]) => ({
    description: ports.map((port) => `TCP ${port.start} ⇢ ${service.internalPort}`).join(", "),
    protocol: service.protocol,
    internalPort: service.internalPort,
    ports: ports.map((port) => ({
      port: port.start,
      startPort: port.start === port.end ? null : port.start,
      endPort: port.start === port.end ? null : port.end,
      handlers: [...port.handlers].toSorted(),
      forceHttps: false,
    })),
  }));
}

export function eventShape(event: MachineHistoryEntry): object {
  const timestamp = new Date(event.timestamp).toISOString();
  const common = { id: event.id, kind: event.type, timestamp };
  const exit = event.request?.["exit_event"];
  if (event.type !== "exit" || typeof exit !== "object" || exit === null)
    return { ...common, __typename: event.type === "start" ? "MachineEventStart" : "MachineEventGeneric" };
  const { exit_code, oom_killed, requested_stop } = exit as Readonly<Record<string, unknown>>;
  return {
    ...common,
    __typename: "MachineEventExit",
    exitCode: exit_code,
    oomKilled: oom_killed,
    requestedStop: requested_stop,
    metadata: {},
  };
}

export function nearest(code: string): Region {
  const region =
    REGIONS.find((candidate) => candidate.code === code) ?? REGIONS.find((candidate) => candidate.code === "iad");
  if (region === undefined) throw new AppError("internal", "there are no regions");
  return { ...region, code: code as Region["code"] };
}

export function regionShape(region: Region): object {
  return {
    code: region.code,
    name: region.name,
    latitude: region.lat,
    longitude: region.lon,
    gatewayAvailable: region.gateway ?? false,
    requiresPaidPlan: false,
    deprecated: region.deprecated,
    processGroup: null,
  };
}

/** The platform's presets (reference §10.3). A size steers nothing here, and costs nothing. */
export const VM_SIZES: readonly object[] = [
  ...[1, 2, 4, 6, 8].map((cpus) => vmSize("shared", `shared-cpu-${cpus}x`, cpus, 256)),
  ...[1, 2, 4, 6, 8, 10, 12, 14, 16].map((cpus) => vmSize("performance", `performance-${cpus}x`, cpus, 2048)),
];

function vmSize(cpuClass: string, name: string, cpus: number, megabytesPerCpu: number): object {
  const memoryMb = cpus * megabytesPerCpu;
  return {
    name,
    cpuClass,
    cpuCores: cpus,
    memoryMb,
    memoryGb: memoryMb / 1024,
    maxMemoryMb: memoryMb * (cpuClass === "shared" ? 8 : 4),
    memoryIncrementsMb: [memoryMb],
    priceMonth: 0,
    priceSecond: 0,
  };
}
