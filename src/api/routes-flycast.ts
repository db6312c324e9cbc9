import { isAbsolute } from "node:path";
import { Hono, type Context } from "hono";
import { streamText } from "hono/streaming";
import { AppError } from "../core/errors.ts";
import { DEFAULT_NETWORK, parseNetworkName, parseRegionCode, PERSONAL_ORG, type MachineId } from "../core/ids.ts";
import { findUser } from "../machines/drivers/users.ts";
import { networkCidr } from "../network/address.ts";
import type { ClientPlace } from "../network/plane.ts";
import type { Commands } from "../registry/commands.ts";
import type { Machine, Network, Organisation, Token } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import { issueToken } from "./issue-token.ts";
import { findApp, findMachine, maySee, mayUse, orgSlugOf, valid } from "./lookup.ts";
import type { ApiEnv } from "./server.ts";
import type { Principal } from "./tokens.ts";
import { planScale } from "./scale.ts";
import { appStatus, sortedApps, type NodeStatus, type StatusSources } from "./status.ts";

/** What the routes that the platform has no counterpart for need. */
export interface FlycastDeps {
  readonly view: RegistryView;
  readonly status: StatusSources;
  readonly node: () => Omit<NodeStatus, "apps">;
  /** What keeps a Machine up, or why it stopped, and what happens next. */
  readonly why: (id: MachineId) => unknown;
  /** PEM of the authority that signs certificates for `.flycast` names. */
  readonly ca: () => string;
  /** Hex of the Ed25519 key that `Fly-Src-Signature` is verified with. */
  readonly flySrcKey: string;
  readonly receipt: (id: MachineId) => object | undefined;
  readonly commands: Commands;
  /** Loads a folder or file of this computer and makes its apps so. @errors config_invalid with every problem, PM02 of a release command */
  readonly deploy: (path: string) => Promise<readonly string[]>;
  readonly destroy: (id: MachineId, how: { readonly force: boolean; readonly because: string }) => Promise<void>;
  /** A loopback port that answers DNS questions as a client of the network. */
  readonly dnsFor: (network: Network) => Promise<string>;
  readonly logs: (
    id: MachineId,
    options: { readonly lines: number; readonly follow: boolean; readonly signal: AbortSignal },
  ) => AsyncIterable<string>;
  /** A namespace on a network for a command of the user outside. @errors unsupported in loopback mode */
  readonly client: (network: Network) => Promise<ClientPlace>;
}

/** Routes of our own, under /flycast/v1: status, why, logs, clients. */
export function flycastRoutes(deps: FlycastDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();

  routes.get("/status", (c) => {
    const principal = c.get("principal");
    const apps = sortedApps(deps.view).filter((app) => maySee(principal, app));
    return c.json({ ...deps.node(), apps: apps.map((app) => appStatus(deps.status, app)) });
  });

  routes.get("/apps/:app/status", (c) =>
    c.json(appStatus(deps.status, findApp(deps.view, c.get("principal"), c.req.param("app")))),
  );

  routes.post("/deploy", async (c) => {
    // A path of this computer and commands to run: for who may do that anyway.
    requireNode(c.get("principal"));
    const { path } = await fields(c, ["path"]);
    if (path === undefined || !isAbsolute(path)) throw new AppError("invalid", "json: path: must be an absolute path");
    return c.json({ changed: await deps.deploy(path) });
  });

  routes.post("/apps/:app/scale", async (c) => {
    const app = findApp(deps.view, c.get("principal"), c.req.param("app"));
    const body: unknown = await c.req.json().catch(() => ({}));
    const input = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
    const region = typeof input["region"] === "string" ? valid(parseRegionCode(input["region"])) : undefined;
    // Not by conversion: `null` is not zero, which would end every Machine.
    const count = typeof input["count"] === "number" ? input["count"] : Number.NaN;
    const group = typeof input["group"] === "string" ? input["group"] : "app";
    const plan = planScale(deps.view.machinesOf(app.name), { count, region, group });
    const created = [];
    for (const { region: where, config } of plan.create) {
      created.push((await deps.commands.createMachine({ app: app.name, region: where, config })).id);
    }
    for (const machine of plan.remove) await deps.destroy(machine.id, { force: true, because: "scaled down" });
    return c.json({ created, destroyed: plan.remove.map((machine) => machine.id) });
  });

  routes.get("/machines/:id/why", (c) => {
    const machine = findMachine(deps.view, c.get("principal"), c.req.param("id"));
    return c.json(deps.why(machine.id) as object);
  });

  routes.get("/machines/:id/receipt", (c) => {
    const machine = findMachine(deps.view, c.get("principal"), c.req.param("id"));
    return c.json({ receipt: deps.receipt(machine.id) });
  });

  const orgJson = (org: Organisation) => ({
    slug: org.slug,
    name: org.name,
    type: org.slug === PERSONAL_ORG ? "PERSONAL" : "SHARED",
    user: org.user ?? null,
    networks: [...deps.view.networks()]
      .filter((network) => network.org === org.slug)
      .map((network) => ({ name: network.name, prefix: networkCidr(network.id) })),
  });
  routes.get("/orgs", (c) => {
    const principal = c.get("principal");
    const organizations = [...deps.view.organisations()].filter((org) => mayUse(principal, org.slug));
    return c.json({ organizations: organizations.map(orgJson) });
  });
  routes.post("/orgs", async (c) => {
    requireNode(c.get("principal"));
    const body = await fields(c, ["slug", "name", "user"]);
    const org = await deps.commands.createOrganisation({
      slug: orgSlugOf(body.slug ?? ""),
      ...(body.name === undefined ? {} : { name: body.name }),
      user: await userOf(body.user),
    });
    return c.json(orgJson(org), 201);
  });
  routes.post("/orgs/:slug", async (c) => {
    requireNode(c.get("principal"));
    const body = await fields(c, ["name", "user"]);
    const slug = orgSlugOf(c.req.param("slug"));
    const org = await deps.commands.updateOrganisation(slug, {
      ...(body.name === undefined ? {} : { name: body.name }),
      ...(body.user === undefined ? {} : { user: await userOf(body.user) }),
    });
    return c.json(orgJson(org));
  });

  const tokenJson = (token: Token) => ({
    id: token.id,
    name: token.name,
    org: token.org ?? null,
    created_at: new Date(token.createdAt).toISOString(),
  });
  routes.get("/tokens", (c) => {
    const principal = c.get("principal");
    const tokens = [...deps.view.tokens()].filter((token) => principal.kind === "node" || token.org === principal.org);
    return c.json({ tokens: tokens.map(tokenJson) });
  });
  routes.post("/tokens", async (c) => {
    requireNode(c.get("principal"));
    const body = await fields(c, ["org", "name"]);
    const org = orgSlugOf(body.org ?? PERSONAL_ORG);
    if (deps.view.organisation(org) === undefined) throw new AppError("not_found", `there is no organisation "${org}"`);
    const { token, secret } = await issueToken(deps.commands, org, body.name ?? "token");
    return c.json({ ...tokenJson(token), token: secret }, 201);
  });
  routes.delete("/tokens/:id", async (c) => {
    requireNode(c.get("principal"));
    await deps.commands.revokeToken(c.req.param("id"));
    return c.body(null, 204);
  });

  routes.get("/ca", (c) => c.text(deps.ca()));
  routes.get("/fly-src.pub", (c) => c.text(deps.flySrcKey));

  routes.post("/dns", async (c) => {
    const network = await namedNetwork(c, deps.view);
    return c.json({ server: await deps.dnsFor(network), network: network.name, org: network.org });
  });

  routes.get("/logs", (c) => {
    const principal = c.get("principal");
    const machines = selectMachines(deps.view, principal, c.req.query("app"), c.req.query("machine"));
    const lines = Math.min(10_000, Math.max(0, Number(c.req.query("lines") ?? 100) || 0));
    const follow = c.req.query("follow") === "1";
    return streamText(c, async (stream) => {
      const abort = new AbortController();
      stream.onAbort(() => abort.abort());
      await Promise.all(
        machines.map(async (machine) => {
          for await (const line of deps.logs(machine.id, { lines, follow, signal: abort.signal })) {
            await stream.write(`${machine.app} ${machine.region} [${machine.id}] ${line}\n`);
          }
        }),
      );
    });
  });

  routes.post("/clients", async (c) => {
    const network = await namedNetwork(c, deps.view);
    const place = await deps.client(network);
    // The caller enters at once; by then its own process holds the namespace.
    setTimeout(() => place.release(), 10_000).unref();
    return c.json({
      address: place.address,
      enter: place.enter,
      owner: place.owner,
      network: network.name,
      org: network.org,
    });
  });

  return routes;
}

/** As whom Machines made through the API run; empty: nobody is named any more. @errors invalid where there is no such user */
async function userOf(name: string | undefined): Promise<string | undefined> {
  if (name === undefined || name === "") return undefined;
  if ((await findUser(name)) === undefined)
    throw new AppError("invalid", `user "${name}" does not exist on this computer`);
  return name;
}

function requireNode(principal: Principal): void {
  if (principal.kind !== "node") throw new AppError("forbidden", "this needs the node's own token");
}

/** Text fields of a JSON body. @errors invalid */
async function fields<K extends string>(c: Context<ApiEnv>, names: readonly K[]): Promise<Partial<Record<K, string>>> {
  const body: unknown = await c.req.json().catch(() => ({}));
  const result: Partial<Record<K, string>> = {};
  for (const name of names) {
    const value = typeof body === "object" && body !== null ? (body as Record<string, unknown>)[name] : undefined;
    if (value == null) continue;
    if (typeof value !== "string" || value.length > 4096)
      throw new AppError("invalid", `json: ${name}: must be a string`);
    result[name] = value;
  }
  return result;
}

/** The network that a body names by `org` and `network`. @errors forbidden, not_found */
async function namedNetwork(c: Context<ApiEnv>, view: RegistryView): Promise<Network> {
  const principal = c.get("principal");
  const body = await fields(c, ["org", "network"]);
  const own = principal.kind === "org" ? principal.org : PERSONAL_ORG;
  const org = body.org === undefined ? own : orgSlugOf(body.org);
  if (!mayUse(principal, org)) throw new AppError("forbidden", "the token belongs to another organisation");
  const name = body.network === undefined ? DEFAULT_NETWORK : valid(parseNetworkName(body.network));
  const network = view.networkNamed(org, name);
  if (network === undefined) {
    const missing =
      view.organisation(org) === undefined
        ? `there is no organisation "${org}"`
        : `organisation "${org}" has no network "${name}"`;
    throw new AppError("not_found", missing, { details: { next: "flycast orgs list" } });
  }
  return network;
}

function selectMachines(
  view: RegistryView,
  principal: Principal,
  app: string | undefined,
  id: string | undefined,
): readonly Machine[] {
  if (id !== undefined) return [findMachine(view, principal, id)];
  if (app !== undefined) return view.machinesOf(findApp(view, principal, app).name);
  return sortedApps(view)
    .filter((candidate) => maySee(principal, candidate))
    .flatMap((candidate) => view.machinesOf(candidate.name));
}
