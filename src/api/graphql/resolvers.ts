import { AppError } from "../../core/errors.ts";
import {
  DEFAULT_NETWORK,
  PERSONAL_ORG,
  parseAppName,
  parseNetworkName,
  parseOrgSlug,
  parseRegionCode,
  type AppName,
} from "../../core/ids.ts";
import { REGIONS, type Region } from "../../core/regions.ts";
import { kindOf, parseIp6 } from "../../network/address.ts";
import type { Registry } from "../../registry/commands.ts";
import {
  publicState,
  type App,
  type FlycastAddress,
  type Machine,
  type Organisation,
  type Peer,
} from "../../registry/model.ts";
import { findApp, findMachine, maySee, valid } from "../lookup.ts";
import { allocate } from "../routes-apps.ts";
import { peersOf, refuseKnownKey, type GatewayFacts } from "../routes-wireguard.ts";
import type { Principal } from "../tokens.ts";

export interface GraphqlDeps {
  readonly registry: Registry;
  readonly nodeRegion: string;
  readonly destroyApp: (app: App) => Promise<void>;
  /** Where WireGuard clients find the gateway, and its public key. @errors unsupported where there is none */
  readonly gateway: () => GatewayFacts;
}

type Input<T> = { readonly input: T };

/** The root value: one function for each operation. Nested values are plain objects whose functions are called when asked for. */
export function rootValue(deps: GraphqlDeps, principal: Principal): object {
  const { registry } = deps;
  const { view, commands } = registry;
  const shapes = new Shapes(registry);
  const mine = (app: App): boolean => maySee(principal, app);
  const mayUse = (org: Organisation): boolean => principal.kind === "node" || principal.org === org.slug;
  const findOrg = (idOrSlug: string | undefined): Organisation => {
    const slug = valid(parseOrgSlug(idOrSlug ?? PERSONAL_ORG));
    const org = view.organisation(slug);
    if (org === undefined || !mayUse(org)) throw new AppError("not_found", `Could not find Organization "${slug}"`);
    return org;
  };
  const orgs = (): Organisation[] => [...view.organisations()].filter(mayUse);

  return {
    viewer: () => ({
      __typename: "User",
      id: "user",
      name: "Flycast",
      email: "flycast@localhost",
      enablePaidHobby: true,
    }),
    apps: ({ organizationId, first, after }: { organizationId?: string; first?: number; after?: string }) => {
      const all = [...view.apps()]
        .filter((app) => mine(app) && (organizationId == null || app.org === organizationId))
        .toSorted((a, b) => (a.name < b.name ? -1 : 1));
      return page(all, first, after, (app) => shapes.app(app));
    },
    app: ({ name }: { name?: string }) => shapes.app(findApp(view, principal, name ?? "")),
    appNameAvailable: ({ name }: { name: string }) => view.app(valid(parseAppName(name))) === undefined,
    machine: ({ machineId }: { machineId?: string }) => shapes.machine(findMachine(view, principal, machineId ?? "")),
    organization: ({ slug, id }: { slug?: string; id?: string }) => shapes.org(findOrg(slug ?? id)),
    organizations: ({ first, after }: { first?: number; after?: string }) =>
      page(orgs(), first, after, (org) => shapes.org(org)),
    personalOrganization: () => shapes.org(findOrg(principal.kind === "org" ? principal.org : undefined)),
    nearestRegion: () => regionShape(nearest(deps.nodeRegion)),
    platform: () => ({ requestRegion: deps.nodeRegion, regions: REGIONS.map(regionShape) }),
    latestImageDetails: ({ image }: { image: string }) => {
      throw new AppError("not_found", `Unknown repository: ${image}. This node runs commands, not images`);
    },
    canPerformBluegreenDeployment: () => false,

    createApp: async ({ input }: Input<{ organizationId: string; name?: string; network?: string }>) => {
      const org = findOrg(input.organizationId);
      const name = valid(parseAppName(input.name ?? ""));
      const network = input.network == null ? DEFAULT_NETWORK : valid(parseNetworkName(input.network));
      return { app: shapes.app(await commands.createApp({ name, org: org.slug, network })) };
    },
    deleteApp: async ({ input, appId }: { input?: { appId: string }; appId?: string }) => {
      const app = findApp(view, principal, input?.appId ?? appId ?? "");
      await deps.destroyApp(app);
      return { organization: shapes.org(findOrg(app.org)) };
    },
    createOrganization: async ({ input }: Input<{ name: string }>) => {
      if (principal.kind !== "node") throw new AppError("forbidden", "this needs the node's own token");
      const slug = valid(
        parseOrgSlug(
          input.name
            .toLowerCase()
            .replace(/[^a-z0-9]+/g, "-")
            .replace(/^-|-$/g, ""),
        ),
      );
      return { organization: shapes.org(await commands.createOrganisation({ slug, name: input.name })) };
    },
    allocateIpAddress: async ({
      input,
    }: Input<{ appId: string; type: string; organizationId?: string; network?: string }>) => {
      const app = findApp(view, principal, input.appId);
      if (input.type !== "private_v6" && input.type !== "private") {
        throw new AppError(
          "unsupported",
          `addresses of type "${input.type}" are public; this node has private ones only: private_v6`,
        );
      }
      const address = await allocate(registry, principal, app, input.organizationId ?? "", input.network ?? "");
      return { app: shapes.app(app), ipAddress: shapes.ip(address) };
    },
    releaseIpAddress: async ({
      input,
    }: Input<{ appId?: string; ip?: string; ipAddressId?: string; clientMutationId?: string }>) => {
      const text = input.ip ?? input.ipAddressId ?? "";
      const ip = parseIp6(text);
      if (!ip.ok) throw new AppError("invalid", `Invalid IP address: '${text}'`);
      const app = findApp(view, principal, input.appId ?? view.addressAt(ip.value)?.app ?? "");
      await commands.releaseAddress(app.name, ip.value);
      return { clientMutationId: input.clientMutationId ?? null, app: shapes.app(app) };
    },
    addWireGuardPeer: async ({
      input,
    }: Input<{ organizationId: string; region?: string; name: string; pubkey: string; network?: string }>) => {
      const org = findOrg(input.organizationId);
      const gateway = deps.gateway();
      const name =
        input.network == null || input.network === "" ? DEFAULT_NETWORK : valid(parseNetworkName(input.network));
      const network = view.networkNamed(org.slug, name);
      if (network === undefined) throw new AppError("not_found", `organisation "${org.slug}" has no network "${name}"`);
      const region = valid(parseRegionCode(input.region ?? deps.nodeRegion));
      refuseKnownKey(view, gateway, input.pubkey);
      const peer = await commands.createPeer({
        name: input.name,
        network: network.id,
        region,
        publicKey: input.pubkey,
      });
      await gateway.sync();
      return { peerip: peer.address, endpointip: gateway.host, pubkey: gateway.publicKey };
    },
    removeWireGuardPeer: async ({ input }: Input<{ organizationId: string; name: string }>) => {
      const org = findOrg(input.organizationId);
      const peer = peersOf(view, org.slug).find((candidate) => candidate.name === input.name);
      if (peer === undefined) throw new AppError("not_found", `Could not find WireGuard peer "${input.name}"`);
      await commands.removePeer(peer.network, peer.name);
      await deps.gateway().sync();
      return { organization: shapes.org(org) };
    },
    validateWireGuardPeers: ({ input }: Input<{ peerIps: readonly string[] }>) => {
      const isOurs = (text: string): boolean => {
        const ip = parseIp6(text.replace(/\/\d+$/, ""));
        return ip.ok && kindOf(ip.value) === "peer" && view.peerAt(ip.value) !== undefined;
      };
      return { invalidPeerIps: input.peerIps.filter((ip) => !isOurs(ip)), validPeerIps: input.peerIps.filter(isOurs) };
    },
  };
}

/** Registry values in the shapes of the schema. */
class Shapes {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  app(app: App): object {
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

  org(org: Organisation): object {
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
      wireGuardPeers: () => ({ nodes: peersOf(this.#registry.view, org.slug).map(peer) }),
      wireGuardPeer: ({ name }: { name: string }) => {
        const found = peersOf(this.#registry.view, org.slug).find((p) => p.name === name);
        return found === undefined ? null : peer(found);
      },
      allowedReplaySourceOrgSlugs: [],
      allowAllCrossNetworkReplays: false,
    };
  }

  #org(slug: Organisation["slug"]): Organisation {
    const org = this.#registry.view.organisation(slug);
    if (org === undefined) throw new AppError("not_found", `Could not find Organization "${slug}"`);
    return org;
  }

  /** There are no releases of images here: the newest version of the Machines stands for the current one. */
  #releases(app: AppName): readonly object[] {
    const newest = this.#registry.view.machinesOf(app).toSorted((a, b) => b.version - a.version)[0];
    if (newest === undefined) return [];
    return [
      {
        id: newest.instance,
        version: newest.version,
        stable: true,
        inProgress: false,
        description: "Deployed",
        reason: "deploy",
        status: "complete",
        imageRef: null,
        evaluationId: null,
        user: null,
        createdAt: new Date(newest.updatedAt).toISOString(),
      },
    ];
  }
}

const MOST = 500;

function page<T>(
  all: readonly T[],
  first: number | undefined,
  after: string | undefined,
  shape: (item: T) => object,
): object {
  const from = after == null ? 0 : Number(after) || 0;
  const size = Math.min(MOST, Math.max(0, first ?? MOST));
  const end = Math.min(all.length, from + size);
  return {
    totalCount: all.length,
    pageInfo: { hasNextPage: end < all.length, endCursor: String(end) },
    nodes: all.slice(from, end).map(shape),
  };
}

function nearest(code: string): Region {
  const region =
    REGIONS.find((candidate) => candidate.code === code) ?? REGIONS.find((candidate) => candidate.code === "iad");
  if (region === undefined) throw new AppError("internal", "there are no regions");
  return { ...region, code: code as Region["code"] };
}

function regionShape(region: Region): object {
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
