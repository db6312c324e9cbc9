import { AppError } from "../../core/errors.ts";
import {
  DEFAULT_NETWORK,
  PERSONAL_ORG,
  parseAppName,
  parseNetworkName,
  parseOrgSlug,
  parseRegionCode,
} from "../../core/ids.ts";
import { REGIONS } from "../../core/regions.ts";
import { kindOf, parseIp6 } from "../../network/address.ts";
import type { Registry } from "../../registry/commands.ts";
import type { App, Organisation } from "../../registry/model.ts";
import { findApp, findMachine, maySee, mayUse, valid } from "../lookup.ts";
import { allocate } from "../routes-apps.ts";
import { peersOf, refuseKnownKey, syncIfThere, type GatewayFacts } from "../routes-wireguard.ts";
import type { Principal } from "../tokens.ts";
import { nearest, regionShape, Shapes } from "./shapes.ts";

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
  const shapes = new Shapes(registry, principal);
  const mine = (app: App): boolean => maySee(principal, app);
  const findOrg = (idOrSlug: string | undefined): Organisation => {
    const slug = valid(parseOrgSlug(idOrSlug ?? PERSONAL_ORG));
    const org = view.organisation(slug);
    if (org === undefined || !mayUse(principal, org.slug))
      throw new AppError("not_found", `Could not find Organization "${slug}"`);
    return org;
  };
  const orgs = (): Organisation[] => [...view.organisations()].filter((org) => mayUse(principal, org.slug));

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
      await syncIfThere(deps.gateway);
      return { organization: shapes.org(org) };
    },
    validateWireGuardPeers: ({ input }: Input<{ peerIps: readonly string[] }>) => {
      const isOurs = (text: string): boolean => {
        const ip = parseIp6(text.replace(/\/\d+$/, ""));
        const peer = ip.ok && kindOf(ip.value) === "peer" ? view.peerAt(ip.value) : undefined;
        return peer !== undefined && mayUse(principal, peer.org);
      };
      return { invalidPeerIps: input.peerIps.filter((ip) => !isOurs(ip)), validPeerIps: input.peerIps.filter(isOurs) };
    },
  };
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
