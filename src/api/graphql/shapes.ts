import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/errors.ts";
import { PERSONAL_ORG, type AppName } from "../../core/ids.ts";
import { parseIp6 } from "../../network/address.ts";
import type { Registry } from "../../registry/commands.ts";
import {
  publicState,
  type App,
  type FlycastAddress,
  type Machine,
  type Organisation,
  type Peer,
  type Token,
} from "../../registry/model.ts";
import type { History } from "../history.ts";
import { findMachine, maySee, mayUse, rawSlugOf } from "../lookup.ts";
import { configJson } from "../platform-json.ts";
import { currentRelease } from "../releases.ts";
import { peersOf } from "../routes-wireguard.ts";
import type { Secrets } from "../secrets.ts";
import type { Principal } from "../tokens.ts";
import { eventShape, imageShape, nearest, regionShape, releaseShape, servicesShape, USER } from "./values.ts";

/** Things that one answer may hold: lists lie inside lists, and their sizes multiply. */
const MOST_THINGS = 10_000;
/** Tokens of this node do not run out, and clients want a time. */
const NEVER = "9999-12-31T23:59:59.000Z";
const NONE = { nodes: [] };

export interface ShapesDeps {
  readonly registry: Pick<Registry, "view">;
  readonly clock: Clock;
  readonly secrets: Pick<Secrets, "list">;
  readonly history: Pick<History, "of">;
}

/** Registry values in the shapes of the schema, for one request: they count what they give out. */
export class Shapes {
  readonly #deps: ShapesDeps;
  readonly #registry: Pick<Registry, "view">;
  readonly #principal: Principal;
  #given = 0;

  constructor(deps: ShapesDeps, principal: Principal) {
    this.#deps = deps;
    this.#registry = deps.registry;
    this.#principal = principal;
  }

  app(app: App): object {
    this.#count();
    const { view } = this.#registry;
    const machines = (): readonly Machine[] => view.machinesOf(app.name);
    const services = (): readonly object[] => servicesShape(view.routesOf(app.name));
    const release = (): object | null => this.release(app.name);
    const releases = (): object => listOf([release()].filter((one) => one !== null));
    return {
      // The platform's clients take the name for the id.
      id: app.name,
      internalId: String(app.number),
      internalNumericId: app.number,
      name: app.name,
      hostname: `${app.name}.flycast`,
      cnameTarget: null,
      deployed: () => machines().length > 0,
      state: () => (machines().length > 0 ? "DEPLOYED" : "PENDING"),
      status: () => (machines().length > 0 ? "deployed" : "pending"),
      appUrl: null,
      platformVersion: "machines",
      network: view.network(app.network)?.name,
      version: () => currentRelease(view, app.name)?.version ?? 0,
      createdAt: new Date(app.createdAt).toISOString(),
      organization: () => this.org(this.#org(app.org)),
      role: null,
      config: () => ({ definition: {}, errors: [], services: services(), valid: true }),
      currentLock: null,
      currentRelease: release,
      currentReleaseUnprocessed: release,
      releases,
      releasesUnprocessed: ({ status }: { status?: string | null }) =>
        status == null || status === "" || status === "complete" ? releases() : listOf([]),
      image: ({ ref }: { ref: string }) => imageShape(ref, this.#deps.clock.wall()),
      imageDetails: null,
      latestImageDetails: null,
      imageUpgradeAvailable: false,
      imageVersionTrackingEnabled: false,
      ipAddress: ({ address: text }: { address: string }) => {
        const ip = parseIp6(text);
        const found = ip.ok ? view.addressAt(ip.value) : undefined;
        return found?.app === app.name ? this.ip(found) : null;
      },
      ipAddresses: () => listOf(view.addressesOf(app.name).map((address) => this.ip(address))),
      egressIpAddresses: NONE,
      sharedIpAddress: null,
      machine: ({ id }: { id: string }) => this.machine(findMachine(view, this.#principal, id, app)),
      machines: ({ state }: { state?: string | null }) =>
        listOf(
          machines()
            .filter(({ id }) => state == null || publicState(view.status(id).state) === state)
            .map((machine) => this.machine(machine)),
        ),
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
      hostIssues: NONE,
      services,
      regions: () =>
        [...new Set(machines().map((machine) => machine.region))].map((code) => regionShape(nearest(code))),
      backupRegions: [],
      secrets: async () =>
        (await this.#deps.secrets.list(app.name)).secrets.map(({ name, digest, created_at: createdAt }) => ({
          id: name,
          name,
          digest,
          createdAt,
        })),
      // A token is of a whole organisation, never of one app.
      limitedAccessTokens: listOf([]),
      certificates: NONE,
      addOns: NONE,
      volumes: NONE,
    };
  }

  /** The current release of an app, or null. */
  release(app: AppName): object | null {
    const found = currentRelease(this.#registry.view, app);
    return found === undefined ? null : releaseShape(found);
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
      config: () => configJson(machine.config),
      createdAt: new Date(machine.createdAt).toISOString(),
      updatedAt: new Date(machine.updatedAt).toISOString(),
      app: () => {
        const app = view.app(machine.app);
        return app === undefined ? null : this.app(app);
      },
      host: { id: String(machine.host) },
      ips: { nodes: [{ id: machine.address, kind: "privatenet", family: "v6", ip: machine.address, maskSize: 112 }] },
      egressIpAddresses: NONE,
      events: ({ first, kind }: { first?: number | null; kind?: string | null }) => ({
        nodes: this.#deps.history
          .of(machine)
          .filter((event) => kind == null || event.type === kind)
          .slice(0, Math.max(0, first ?? Infinity))
          .map(eventShape),
      }),
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
    const { view } = this.#registry;
    const isOurs = mayUse(this.#principal, org.slug);
    const peers = (): readonly Peer[] => (isOurs ? peersOf(view, org.slug) : []);
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
      rawSlug: rawSlugOf(org.slug),
      name: org.name,
      type: org.slug === PERSONAL_ORG ? "PERSONAL" : "SHARED",
      paidPlan: true,
      billable: true,
      billingStatus: "CURRENT",
      viewerRole: "admin",
      settings: {},
      addOnSsoLink: null,
      provisionsBetaExtensions: false,
      agreedToProviderTos: false,
      remoteBuilderImage: "",
      remoteBuilderApp: null,
      members: { edges: [] },
      apps: ({ first, after }: { first?: number | null; after?: string | null }) => {
        const all = [...view.apps()].filter((app) => app.org === org.slug && maySee(this.#principal, app));
        return page(all, first, after, (app) => this.app(app));
      },
      wireGuardPeers: () => ({ nodes: peers().map(peer) }),
      wireGuardPeer: ({ name }: { name: string }) => {
        const found = peers().find((p) => p.name === name);
        return found === undefined ? null : peer(found);
      },
      delegatedWireGuardTokens: NONE,
      limitedAccessTokens: () =>
        listOf([...view.tokens()].filter((token) => isOurs && token.org === org.slug).map((one) => this.token(one))),
      loggedCertificates: NONE,
      allowedReplaySourceOrgSlugs: [],
      allowAllCrossNetworkReplays: false,
    };
  }

  /** `secret`: the token itself, which can be told only now. */
  token(token: Token, secret = ""): object {
    this.#count();
    return {
      id: token.id,
      name: token.name,
      profile: "deploy_organization",
      token: secret,
      tokenHeader: secret === "" ? null : `FlyV1 ${secret}`,
      organization: () => (token.org === undefined ? null : this.org(this.#org(token.org))),
      user: USER,
      createdAt: new Date(token.createdAt).toISOString(),
      expiresAt: NEVER,
      revokedAt: null,
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
}

function listOf(nodes: readonly object[]): object {
  return { totalCount: nodes.length, nodes };
}

const MOST_ON_A_PAGE = 500;

/** One page of a list. `after`: the place where the one before ended. */
export function page<T>(
  all: readonly T[],
  first: number | null | undefined,
  after: string | null | undefined,
  shape: (item: T) => object,
): object {
  const from = Math.max(0, Math.trunc(Number(after ?? 0)) || 0);
  const size = Math.min(MOST_ON_A_PAGE, Math.max(0, first ?? MOST_ON_A_PAGE));
  const end = Math.min(all.length, from + size);
  return {
    totalCount: all.length,
    pageInfo: {
      hasNextPage: end < all.length,
      hasPreviousPage: from > 0,
      startCursor: String(from),
      endCursor: String(end),
    },
    nodes: all.slice(from, end).map(shape),
  };
}
