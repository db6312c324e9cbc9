import { Hono } from "hono";
import { streamText } from "hono/streaming";
import { AppError } from "../core/errors.ts";
import { DEFAULT_NETWORK, parseNetworkName, parseOrgSlug, PERSONAL_ORG, type MachineId } from "../core/ids.ts";
import type { ClientPlace } from "../network/plane.ts";
import type { Machine, Network } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import { findApp, findMachine, maySee, valid } from "./lookup.ts";
import type { ApiEnv } from "./server.ts";
import { appStatus, sortedApps, type NodeStatus, type StatusSources } from "./status.ts";
import type { Principal } from "./tokens.ts";

/** What the routes that the platform has no counterpart for need. */
export interface FlycastDeps {
  readonly view: RegistryView;
  readonly status: StatusSources;
  readonly node: () => Omit<NodeStatus, "apps">;
  /** What keeps a Machine up, or why it stopped, and what happens next. */
  readonly why: (id: MachineId) => unknown;
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

  routes.get("/machines/:id/why", (c) => {
    const machine = findMachine(deps.view, c.get("principal"), c.req.param("id"));
    return c.json(deps.why(machine.id) as object);
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
    const body: unknown = await c.req.json().catch(() => ({}));
    const field = (name: string): string | undefined => {
      const value = typeof body === "object" && body !== null ? (body as Record<string, unknown>)[name] : undefined;
      if (value !== undefined && typeof value !== "string") throw new AppError("invalid", `"${name}" must be a string`);
      return value;
    };
    const principal = c.get("principal");
    const slug = field("org");
    const org =
      slug === undefined ? (principal.kind === "org" ? principal.org : PERSONAL_ORG) : valid(parseOrgSlug(slug));
    if (principal.kind === "org" && principal.org !== org)
      throw new AppError("forbidden", "the token belongs to another organisation");
    const name = field("network");
    const networkName = name === undefined ? DEFAULT_NETWORK : valid(parseNetworkName(name));
    const network = deps.view.networkNamed(org, networkName);
    if (network === undefined) {
      throw new AppError("not_found", `organisation "${org}" has no network "${networkName}"`, {
        details: { next: "flycast orgs list" },
      });
    }
    const place = await deps.client(network);
    // The caller enters at once; by then its own process holds the namespace.
    setTimeout(() => place.release(), 10_000).unref();
    return c.json({ address: place.address, enter: place.enter, network: network.name, org });
  });

  return routes;
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
