import { createRoute, z } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
import { DEFAULT_NETWORK, parseAppName, parseNetworkName, PERSONAL_ORG, type OrgSlug } from "../core/ids.ts";
import { parseIp6 } from "../network/address.ts";
import type { Registry } from "../registry/commands.ts";
import type { App, FlycastAddress } from "../registry/model.ts";
import { findApp, mayUse, orgSlugOf, rawSlugOf, sortedVisibleApps, valid } from "./lookup.ts";
import { appParam, json, newRouter, queryFlag, refused, type Router } from "./openapi.ts";
import { appJson, ipJson } from "./platform-json.ts";
import { allocateSchema, appSchema, createAppSchema, ipSchema, type AppJson, type IpJson } from "./platform-schemas.ts";
import type { Principal } from "./tokens.ts";

/** `/v1/apps` and `/v1/apps/{app}/ip_assignments` (reference §10.3, §6.4). */
export function appRoutes(registry: Registry, destroyApp: (app: App) => Promise<void>): Router {
  const { view, commands } = registry;
  const routes = newRouter();
  const show = (app: App): AppJson =>
    appJson(
      app,
      view.organisation(app.org),
      view.network(app.network)?.name ?? "default",
      view.machinesOf(app.name).length,
    );

  const showIp = (address: FlycastAddress): IpJson => ipJson(address, view.network(address.network));

  routes.openapi(
    createRoute({
      method: "get",
      path: "/apps",
      request: {
        query: z.looseObject({ org_slug: z.string().max(63).optional(), app_role: z.string().max(63).optional() }),
      },
      responses: {
        200: {
          description: "the apps of an organisation",
          content: json(z.object({ total_apps: z.number().int(), apps: z.array(appSchema) })),
        },
        default: refused,
      },
    }),
    (c) => {
      const { org_slug: org, app_role: role } = c.req.valid("query");
      const apps = sortedVisibleApps(view, c.get("principal"))
        .filter((app) => org === undefined || org === "" || app.org === org || rawSlugOf(app.org) === org)
        // No app here has one of the platform's roles, such as that of its old Postgres clusters.
        .filter(() => role === undefined || role === "")
        .map(show);
      return c.json({ total_apps: apps.length, apps }, 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "post",
      path: "/apps",
      request: { body: { content: json(createAppSchema), required: true } },
      responses: { 201: { description: "made", content: json(appSchema) }, default: refused },
    }),
    async (c) => {
      const body = c.req.valid("json");
      const name = valid(parseAppName(body.name ?? body.app_name ?? ""));
      const org = ownOrg(c.get("principal"), body.org_slug);
      if (view.organisation(org) === undefined)
        throw new AppError("not_found", `there is no organisation "${org}"`, {
          details: { next: "flycast orgs list" },
        });
      const network =
        body.network == null || body.network === "" ? DEFAULT_NETWORK : valid(parseNetworkName(body.network));
      const app = await commands.createApp({ name, org, network });
      return c.json(show(app), 201);
    },
  );

  routes.openapi(
    createRoute({
      method: "get",
      path: "/apps/{app}",
      request: { params: appParam },
      responses: { 200: { description: "the app", content: json(appSchema) }, default: refused },
    }),
    (c) => c.json(show(findApp(view, c.get("principal"), c.req.valid("param").app)), 200),
  );

  routes.openapi(
    createRoute({
      method: "delete",
      path: "/apps/{app}",
      request: { params: appParam, query: z.object({ force: queryFlag }) },
      responses: { 202: { description: "destroyed with its Machines and addresses" }, default: refused },
    }),
    async (c) => {
      const app = findApp(view, c.get("principal"), c.req.valid("param").app);
      await destroyApp(app);
      return c.body(null, 202);
    },
  );

  routes.openapi(
    createRoute({
      method: "get",
      path: "/apps/{app}/ip_assignments",
      request: { params: appParam },
      responses: {
        200: { description: "the app's addresses", content: json(z.object({ ips: z.array(ipSchema) })) },
        default: refused,
      },
    }),
    (c) => {
      const app = findApp(view, c.get("principal"), c.req.valid("param").app);
      return c.json({ ips: view.addressesOf(app.name).map(showIp) }, 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "post",
      path: "/apps/{app}/ip_assignments",
      request: { params: appParam, body: { content: json(allocateSchema), required: true } },
      responses: { 200: { description: "the new address", content: json(ipSchema) }, default: refused },
    }),
    async (c) => {
      const principal = c.get("principal");
      const app = findApp(view, principal, c.req.valid("param").app);
      const body = c.req.valid("json");
      refusePublic(body.type);
      return c.json(showIp(await allocate(registry, principal, app, body.org_slug ?? "", body.network ?? "")), 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "delete",
      path: "/apps/{app}/ip_assignments/{ip}",
      request: { params: appParam.extend({ ip: z.string().max(64) }) },
      responses: { 200: { description: "released" }, default: refused },
    }),
    async (c) => {
      const { app: name, ip } = c.req.valid("param");
      const app = findApp(view, c.get("principal"), name);
      const address = parseIp6(ip);
      if (!address.ok) throw new AppError("invalid", `Invalid IP address: '${ip}'`);
      await commands.releaseAddress(app.name, address.value);
      return c.body(null, 200);
    },
  );
  return routes;
}

/**
 * A Flycast address by the rules of reference §6.2: nothing given means the default network of the app's own organisation,
 * whatever network the app itself is on.
 * @errors not_found, forbidden
 */
export async function allocate(
  registry: Registry,
  principal: Principal,
  app: App,
  orgSlug: string,
  networkName: string,
) {
  const org = orgSlug === "" ? app.org : orgSlugOf(orgSlug);
  if (!mayUse(principal, org)) {
    throw new AppError("forbidden", `the token gives no access to organisation "${org}"`);
  }
  if (registry.view.organisation(org) === undefined) {
    throw new AppError("not_found", `there is no organisation "${org}"`, { details: { next: "flycast orgs list" } });
  }
  const name = networkName === "" ? DEFAULT_NETWORK : valid(parseNetworkName(networkName));
  const network = registry.view.networkNamed(org, name);
  if (network === undefined) {
    throw new AppError(
      "not_found",
      `organisation "${org}" has no network "${name}"; make an app on it first (apps create --network ${name})`,
    );
  }
  return registry.commands.allocateAddress(app.name, network.id);
}

/** @errors unsupported */
export function refusePublic(type: unknown): void {
  if (type === "private_v6" || type === "private") return;
  throw new AppError(
    "unsupported",
    `addresses of type "${String(type).slice(0, 32)}" are public; this node has private ones only: private_v6 ` +
      "(flyctl ips allocate-v6 --private; flyctl deploy --flycast or --no-public-ips)",
  );
}

function ownOrg(principal: Principal, slug: string | null | undefined): OrgSlug {
  const own = principal.kind === "org" ? principal.org : PERSONAL_ORG;
  if (slug == null || slug === "") return own;
  const org = orgSlugOf(slug);
  if (!mayUse(principal, org)) throw new AppError("forbidden", `the token gives no access to organisation "${org}"`);
  return org;
}
