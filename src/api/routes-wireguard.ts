import { Hono } from "hono";
import { AppError } from "../core/errors.ts";
import {
  DEFAULT_NETWORK,
  parseNetworkName,
  parseRegionCode,
  PERSONAL_ORG,
  type NetworkId,
  type OrgSlug,
} from "../core/ids.ts";
import type { Commands } from "../registry/commands.ts";
import type { Network, Peer } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import { orgSlugOf, valid } from "./lookup.ts";
import type { ApiEnv } from "./server.ts";
import type { Principal } from "./tokens.ts";

/** The node's door for WireGuard clients, as the API tells of it. */
export interface GatewayFacts {
  /** Name or address by which clients reach it. */
  readonly host: string;
  /** UDP. Clients of the platform's API are told none, and take 51820. */
  readonly port: number;
  /** Base64. */
  readonly publicKey: string;
  /** Resolves when the tunnels are those of the registry: a new client may connect, a removed one is cut off. */
  readonly sync: () => Promise<void>;
}

export interface WireGuardDeps {
  readonly view: RegistryView;
  readonly commands: Commands;
  readonly nodeRegion: string;
  /** @errors unsupported where there is none */
  readonly gateway: () => GatewayFacts;
}

const MAX_TEXT = 200;

/** `/peers`: WireGuard clients. The platform has them in GraphQL alone. */
export function wireGuardRoutes(deps: WireGuardDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const { view, commands } = deps;

  routes.get("/peers", (c) => {
    const org = orgFor(c.get("principal"), view, c.req.query("org"));
    return c.json({ peers: peersOf(view, org).map((peer) => peerJson(view, peer)) });
  });

  routes.post("/peers", async (c) => {
    const body: unknown = await c.req.json().catch(() => undefined);
    const text = (name: string): string | undefined => textField(body, name);
    const org = orgFor(c.get("principal"), view, text("org"));
    const network = networkFor(view, org, text("network"));
    const gateway = deps.gateway();
    const publicKey = text("public_key") ?? "";
    refuseKnownKey(view, gateway, publicKey);
    const peer = await commands.createPeer({
      name: text("name") ?? "",
      network: network.id,
      region: valid(parseRegionCode(text("region") ?? deps.nodeRegion)),
      publicKey,
    });
    await gateway.sync();
    const { host, port, publicKey: gatewayKey } = gateway;
    return c.json({ ...peerJson(view, peer), endpoint: { host, port }, gateway_public_key: gatewayKey }, 201);
  });

  routes.delete("/peers/:name", async (c) => {
    const org = orgFor(c.get("principal"), view, c.req.query("org"));
    const wanted = c.req.query("network");
    const network = wanted === undefined ? undefined : networkFor(view, org, wanted).id;
    const peer = findPeer(view, org, c.req.param("name"), network);
    await commands.removePeer(peer.network, peer.name);
    await syncIfThere(deps.gateway);
    return c.body(null, 204);
  });
  return routes;
}

/**
 * To WireGuard a client *is* its public key: a second one with the same key, perhaps of another organisation, would take
 * the tunnel of the first. @errors conflict
 */
export function refuseKnownKey(view: RegistryView, gateway: GatewayFacts, publicKey: string): void {
  const isKnown = publicKey === gateway.publicKey || [...view.peers()].some((peer) => peer.publicKey === publicKey);
  if (isKnown) throw new AppError("conflict", "another WireGuard peer has that public key: make a new one");
}

/** After a removal: where there is no gateway (any more) nobody needs to be cut off. */
export async function syncIfThere(gateway: () => GatewayFacts): Promise<void> {
  let facts: GatewayFacts;
  try {
    facts = gateway();
  } catch (thrown) {
    if (thrown instanceof AppError && thrown.code === "unsupported") return;
    throw thrown;
  }
  await facts.sync();
}

/** Of an organisation, by name. */
export function peersOf(view: RegistryView, org: OrgSlug): readonly Peer[] {
  return [...view.peers()].filter((peer) => peer.org === org).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function findPeer(view: RegistryView, org: OrgSlug, name: string, network: NetworkId | undefined): Peer {
  const found = peersOf(view, org).filter(
    (peer) => peer.name === name && (network === undefined || peer.network === network),
  );
  const [only] = found;
  if (only === undefined) {
    throw new AppError("not_found", `Organization "${org}" has no WireGuard peer "${name}"`, {
      details: { next: `flycast wireguard list ${org}` },
    });
  }
  if (found.length > 1) {
    throw new AppError("conflict", `"${name}" is on ${found.length} networks of "${org}": name one with --network`);
  }
  return only;
}

function peerJson(view: RegistryView, peer: Peer): object {
  return {
    name: peer.name,
    org: peer.org,
    network: view.network(peer.network)?.name ?? null,
    region: peer.region,
    peer_ip: peer.address,
    public_key: peer.publicKey,
    created_at: new Date(peer.createdAt).toISOString(),
  };
}

/** @errors forbidden, not_found */
function orgFor(principal: Principal, view: RegistryView, wanted: string | undefined): OrgSlug {
  const own = principal.kind === "org" ? principal.org : PERSONAL_ORG;
  const slug = wanted === undefined ? own : orgSlugOf(wanted);
  if (principal.kind === "org" && principal.org !== slug) {
    throw new AppError("forbidden", "the token belongs to another organisation");
  }
  if (view.organisation(slug) === undefined) {
    throw new AppError("not_found", `there is no organisation "${slug}"`, { details: { next: "flycast orgs list" } });
  }
  return slug;
}

function networkFor(view: RegistryView, org: OrgSlug, wanted: string | undefined): Network {
  const name = wanted === undefined ? DEFAULT_NETWORK : valid(parseNetworkName(wanted));
  const network = view.networkNamed(org, name);
  if (network !== undefined) return network;
  throw new AppError("not_found", `organisation "${org}" has no network "${name}"`, {
    details: { next: "flycast orgs list" },
  });
}

function textField(body: unknown, name: string): string | undefined {
  const value = typeof body === "object" && body !== null ? (body as Record<string, unknown>)[name] : undefined;
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string" || value.length > MAX_TEXT) {
    throw new AppError("invalid", `json: ${name}: must be a string of at most ${MAX_TEXT} characters`);
  }
  return value;
}
