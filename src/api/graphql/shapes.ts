import { AppError } from "../../core/errors.ts";
import { PERSONAL_ORG, type AppName } from "../../core/ids.ts";
import { REGIONS, type Region } from "../../core/regions.ts";
import type { Registry } from "../../registry/commands.ts";
import {
  publicState,
  type App,
  type FlycastAddress,
  type Machine,
  type Organisation,
  type Peer,
} from "../../registry/model.ts";
import { mayUse } from "../lookup.ts";
import { currentRelease } from "../releases.ts";
import { peersOf } from "../routes-wireguard.ts";
import type { Principal } from "../tokens.ts";

/** Things that one answer may hold: lists lie inside lists, and their sizes multiply. */
const MOST_THINGS = 10_000;

/** Registry values in the shapes of the schema, for one request: they count what they give out. */
export class Shapes {
  readonly #registry: Pick<Registry, "view">;
  readonly #principal: Principal;
  #given = 0;

  constructor(registry: Pick<Registry, "view">, principal: Principal) {
    this.#registry = registry;
    this.#principal = principal;
  }

  app(app: App): object {
    this.#count();
    const { view } = this.#registry;
    const machines = (): readonly Machine[] => view.machinesOf(app.name);
    return {
      id: app.name,
      internalNumericId: String(app.number),
      name: app.name,
      hostname: `${app.name}.flycast`,
      cnameTarget: null,
      deployed: () => machines().length > 0,
      status: () => (machines().length > 0 ? "deployed" : "pending"),
      appUrl: null,
      platformVersion: "machines",
      network: view.network(app.network)?.name,
      version: () => Math.max(0, ...machines().map((machine) => machine.version)),
      createdAt: new Date(app.createdAt).toISOString(),
      organization: () => this.org(this.#org(app.org)),
      role: null,
      currentRelease: () => this.#releases(app.name)[0] ?? null,
      currentReleaseUnprocessed: () => this.#releases(app.name)[0] ?? null,
      releases: () => ({ nodes: this.#releases(app.name) }),
      releasesUnprocessed: () => ({ nodes: this.#releases(app.name) }),
      ipAddresses: () => ({ nodes: view.addressesOf(app.name).map((address) => this.ip(address)) }),
      egressIpAddresses: { nodes: [] },
      sharedIpAddress: null,
      machines: () => ({ nodes: machines().map((machine) => this.machine(machine)) }),
      allocations: () =>
        machines().map((machine) => ({
          id: machine.id,
          idShort: machine.id.slice(0, 8),
          region: machine.region,
          status: publicState(view.status(machine.id).state),
          privateIP: machine.address,
          version: machine.version,
          createdAt: new Date(machine.createdAt).toISOString(),
        })),
      hostIssues: { nodes: [] },
      services: () =>
        view
          .routesOf(app.name)
          .map(({ service, port }) => ({ description: `TCP ${port.start} ⇢ ${service.internalPort}` })),
      regions: () =>
        [...new Set(machines().map((machine) => machine.region))].map((code) => regionShape(nearest(code))),
    };
  }

  machine(machine: Machine): object {
    this.#count();
    const { view } = this.#registry;
    return {
      id: machine.id,
      name: machine.name,
      state: publicState(view.status(machine.id).state),
      region: machine.region,
      instanceId: machine.instance,
      createdAt: new Date(machine.createdAt).toISOString(),
      app: () => {
        const app = view.app(machine.app);
        return app === undefined ? null : this.app(app);
      },
      ips: { nodes: [{ kind: "privatenet", family: "v6", ip: machine.address }] },
    };
  }

  ip(address: FlycastAddress): object {
    this.#count();
    const { view } = this.#registry;
    const network = view.network(address.network);
    return {
      id: address.address,
      address: address.address,
      type: "private_v6",
      region: "global",
      createdAt: new Date(address.createdAt).toISOString(),
      serviceName: null,
      network:
        network === undefined
          ? null
          : { id: String(network.id), name: network.name, organization: () => this.org(this.#org(network.org)) },
    };
  }

  /** An address may lie on another organisation's network: of that one nothing but the name is told. */
  org(org: Organisation): object {
    this.#count();
    const peers = (): readonly Peer[] =>
      mayUse(this.#principal, org.slug) ? peersOf(this.#registry.view, org.slug) : [];
    const peer = (p: Peer): object => ({
      id: p.name,
      name: p.name,
      pubkey: p.publicKey,
      region: p.region,
      peerip: p.address,
    });
    return {
      id: org.slug,
      internalNumericId: String(org.number),
      slug: org.slug,
      rawSlug: org.slug,
      name: org.name,
      type: org.slug === PERSONAL_ORG ? "PERSONAL" : "SHARED",
      paidPlan: true,
      billable: true,
      viewerRole: "admin",
      settings: {},
      remoteBuilderImage: "",
      remoteBuilderApp: null,
      members: { edges: [] },
      wireGuardPeers: () => ({ nodes: peers().map(peer) }),
      wireGuardPeer: ({ name }: { name: string }) => {
        const found = peers().find((p) => p.name === name);
        return found === undefined ? null : peer(found);
      },
      allowedReplaySourceOrgSlugs: [],
      allowAllCrossNetworkReplays: false,
    };
  }

  /** @errors invalid */
  #count(): void {
    if (++this.#given > MOST_THINGS)
      throw new AppError("invalid", `the answer is too large: more than ${MOST_THINGS} things`);
  }

  #org(slug: Organisation["slug"]): Organisation {
    const org = this.#registry.view.organisation(slug);
    if (org === undefined) throw new AppError("not_found", `Could not find Organization "${slug}"`);
    return org;
  }

  #releases(app: AppName): readonly object[] {
    const found = currentRelease(this.#registry.view, app);
    if (found === undefined) return [];
    return [
      {
        ...found,
        stable: true,
        inProgress: false,
        description: "Deployed",
        reason: "deploy",
        status: "complete",
        imageRef: null,
        evaluationId: null,
        user: null,
      },
    ];
  }
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
  };
}
