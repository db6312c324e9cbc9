import { createRoute, z } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
import type { OrgSlug } from "../core/ids.ts";
import { publicState, type Machine } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import type { History } from "./history.ts";
import { mayUse, orgSlugOf } from "./lookup.ts";
import { isSet, json, newRouter, queryFlag, refused, type Router } from "./openapi.ts";
import { configJson } from "./platform-json.ts";
import type { Principal } from "./tokens.ts";

const orgParam = z.object({ org: z.string().max(63) });
const orgMachine = z
  .object({
    id: z.string(),
    app_name: z.string(),
    name: z.string(),
    state: z.string(),
    region: z.string(),
    version: z.string(),
    private_ip: z.string(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
    config: z.looseObject({ metadata: z.record(z.string(), z.string()) }),
  })
  .openapi("OrgMachine");
const MOST = 1000;

/** `/v1/orgs/{org}`: what lies in an organisation, over all its apps; and `/v1/tokens/current`: who asks. */
export function orgRoutes(view: RegistryView, history: Pick<History, "allDeparted">): Router {
  const routes = newRouter();
  const orgOf = (principal: Principal, slug: string): OrgSlug => {
    const org = orgSlugOf(slug);
    if (view.organisation(org) === undefined || !mayUse(principal, org))
      throw new AppError("not_found", `Could not find Organization "${org}"`);
    return org;
  };

  routes.openapi(
    createRoute({
      method: "get",
      path: "/orgs/{org}/machines",
      request: {
        params: orgParam,
        query: z.looseObject({
          region: z.string().max(16).optional(),
          state: z.string().max(256).optional(),
          include_deleted: queryFlag,
          updated_after: z.string().max(64).optional(),
          cursor: z.string().max(64).optional(),
          limit: z.string().max(8).optional(),
        }),
      },
      responses: {
        200: {
          description: "its Machines, in the order of their last change",
          content: json(
            z.object({
              machines: z.array(orgMachine),
              last_machine_id: z.string(),
              last_updated_at: z.string(),
              next_cursor: z.string(),
            }),
          ),
        },
        default: refused,
      },
    }),
    (c) => {
      const org = orgOf(c.get("principal"), c.req.valid("param").org);
      const query = c.req.valid("query");
      const states = query.state ? new Set(query.state.split(",")) : undefined;
      const since = timeOf(query.updated_after, "updated_after");
      const gone = isSet(query.include_deleted) ? [...history.allDeparted()] : [];
      const all = [...[...view.apps()].flatMap((app) => view.machinesOf(app.name)), ...gone]
        .filter((machine) => view.app(machine.app)?.org === org)
        .map((machine) => shown(view, machine))
        .filter((row) => !query.region || row.region === query.region)
        .filter((row) => states?.has(row.state) !== false && Date.parse(row.updated_at) >= since)
        .toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
      const from = query.cursor ? all.findIndex((row) => key(row) > cursorOf(query.cursor ?? "")) : 0;
      const rest = from < 0 ? [] : all.slice(from);
      const machines = rest.slice(0, limitOf(query.limit));
      const last = machines.at(-1);
      return c.json(
        {
          machines,
          last_machine_id: last?.id ?? "",
          last_updated_at: last?.updated_at ?? "",
          next_cursor: last === undefined || machines.length === rest.length ? "" : key(last),
        },
        200,
      );
    },
  );

  routes.openapi(
    createRoute({
      method: "get",
      path: "/orgs/{org}/volumes",
      request: { params: orgParam, query: z.looseObject({}) },
      responses: {
        200: {
          description: "always empty",
          content: json(z.object({ volumes: z.array(z.looseObject({})), next_cursor: z.string() })),
        },
        default: refused,
      },
    }),
    (c) => {
      orgOf(c.get("principal"), c.req.valid("param").org);
      return c.json({ volumes: [], next_cursor: "" }, 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "get",
      path: "/tokens/current",
      responses: {
        200: {
          description: "what the caller's token is good for; no organisation: all of them",
          content: json(
            z.object({
              tokens: z.array(z.object({ org_slug: z.string(), organization: z.string(), user: z.string() })),
            }),
          ),
        },
        default: refused,
      },
    }),
    (c) => {
      const principal = c.get("principal");
      const org = principal.kind === "org" ? principal.org : "";
      return c.json({ tokens: [{ org_slug: org, organization: org, user: "" }] }, 200);
    },
  );
  for (const path of ["/tokens/kms", "/tokens/oidc", "/tokens/authenticate", "/tokens/authorize"]) {
    routes.post(path, () => {
      throw new AppError("unsupported", "this node gives no tokens to its Machines, and vouches for none");
    });
  }
  return routes;
}

type Row = z.infer<typeof orgMachine>;

function shown(view: RegistryView, machine: Machine): Row {
  const { since } = view.status(machine.id);
  const config = configJson(machine.config);
  return {
    id: machine.id,
    app_name: machine.app,
    name: machine.name,
    state: view.machine(machine.id) === undefined ? "destroyed" : publicState(view.status(machine.id).state),
    region: machine.region,
    version: machine.instance,
    private_ip: machine.address,
    created_at: new Date(machine.createdAt).toISOString(),
    updated_at: new Date(Math.max(machine.updatedAt, since)).toISOString(),
    config: { image: config["image"], guest: config["guest"], metadata: { ...machine.config.metadata } },
  };
}

/** Sorts, and says where the next page begins. */
function key(row: Row): string {
  return `${row.updated_at}_${row.id}`;
}

/** @errors invalid */
function cursorOf(text: string): string {
  if (!/^\d{4}-\d\d-\d\dT[\d:.]+Z_[0-9a-f]{14}$/.test(text))
    throw new AppError("invalid", "query: cursor: is not one that this node gave");
  return text;
}

/** @errors invalid */
function timeOf(text: string | undefined, name: string): number {
  if (text === undefined || text === "") return 0;
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new AppError("invalid", `query: ${name}: must be a time, such as 2026-01-01T00:00:00Z`);
  return time;
}

/** @errors invalid */
function limitOf(text: string | undefined): number {
  if (text === undefined || text === "") return MOST;
  const limit = Number(text);
  if (!Number.isInteger(limit) || limit < 1)
    throw new AppError("invalid", "query: limit: must be a whole number above 0");
  return Math.min(MOST, limit);
}
