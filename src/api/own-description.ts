import { z, type OpenAPIHono, type RouteConfig } from "@hono/zod-openapi";
import { appParam, json, refused } from "./openapi.ts";
import type { ApiEnv } from "./server.ts";

const name = z.string().max(4096);
const count = z.number().int();
const time = z.iso.datetime();

const appStatus = z
  .looseObject({
    name,
    org: name,
    network: name,
    services: z.array(
      z.looseObject({ app: name, org: name, network: name, address: name, port: count, handlers: z.array(name) }),
    ),
    machines: z.array(
      z.looseObject({ id: name, name, region: name, state: name, because: name, since: time, inUse: count }),
    ),
  })
  .openapi("AppStatus");
const nodeStatus = z
  .looseObject({
    mode: name,
    region: name,
    version: name,
    api: name,
    dns: z.array(name),
    startedAt: time,
    apps: z.array(appStatus),
  })
  .openapi("NodeStatus");
const org = z
  .object({
    slug: name,
    name,
    type: z.enum(["PERSONAL", "SHARED"]),
    /** As whom its Machines of the API run. */
    user: name.nullable(),
    networks: z.array(z.object({ name, prefix: name })),
  })
  .openapi("OwnOrganization");
const token = z.object({ id: name, name, org: name.nullable(), created_at: time }).openapi("Token");
const peer = z
  .looseObject({
    name,
    org: name,
    network: name.nullable(),
    region: name,
    peer_ip: name,
    public_key: name,
    created_at: time,
  })
  .openapi("Peer");
const why = z
  .looseObject({
    machine: name,
    app: name,
    state: name,
    because: name,
    holders: z.array(z.looseObject({})),
    next: name,
  })
  .openapi("Why");

const machineParam = z.object({ id: z.string().max(32) });
const text = { "text/plain": { schema: z.string() } };
const place = z.object({ org: name.optional(), network: name.optional() });
const body = (schema: z.ZodType) => ({ body: { content: json(schema), required: true } });
const ok = (description: string, schema: z.ZodType) => ({ 200: { description, content: json(schema) } });
const made = (description: string, schema: z.ZodType) => ({ 201: { description, content: json(schema) } });
const gone = { 204: { description: "gone" } };

/** `/flycast/v1`: routes of our own, which read their input by hand. What the command line uses; not yet held stable. */
const ROUTES: readonly RouteConfig[] = [
  { method: "get", path: "/status", responses: ok("the node, its apps, addresses and Machines", nodeStatus) },
  {
    method: "get",
    path: "/apps/{app}/status",
    request: { params: appParam },
    responses: ok("the app, its addresses and Machines", appStatus),
  },
  {
    method: "post",
    path: "/apps/{app}/scale",
    description: "that many Machines of a process group, in one region or over all",
    request: {
      params: appParam,
      ...body(z.object({ count: z.number().int().min(0).max(1000), region: name.optional(), group: name.optional() })),
    },
    responses: ok("done", z.object({ created: z.array(name), destroyed: z.array(name) })),
  },
  {
    method: "post",
    path: "/deploy",
    description: "a folder of this computer; the node's token only",
    request: body(z.object({ path: name })),
    responses: ok("deployed", z.object({ changed: z.array(name) })),
  },
  {
    method: "get",
    path: "/machines/{id}/why",
    request: { params: machineParam },
    responses: ok("what keeps it up and what comes next", why),
  },
  {
    method: "get",
    path: "/machines/{id}/receipt",
    request: { params: machineParam },
    responses: ok("its last wake, step by step", z.object({ receipt: z.looseObject({}).optional() })),
  },
  {
    method: "get",
    path: "/logs",
    request: {
      query: z.object({
        app: name.optional(),
        machine: name.optional(),
        lines: name.optional(),
        follow: z.enum(["1", "0"]).optional(),
      }),
    },
    responses: { 200: { description: "lines `APP REGION [ID] TIME TEXT`", content: text } },
  },
  { method: "get", path: "/orgs", responses: ok("organisations", z.object({ organizations: z.array(org) })) },
  {
    method: "post",
    path: "/orgs",
    description: "the node's token only",
    request: body(z.object({ slug: name, name: name.optional(), user: name.optional() })),
    responses: made("made, with its default network", org),
  },
  {
    method: "post",
    path: "/orgs/{slug}",
    description: "the node's token only; an empty user takes it away",
    request: { params: z.object({ slug: name }), ...body(z.object({ name: name.optional(), user: name.optional() })) },
    responses: ok("changed", org),
  },
  { method: "get", path: "/tokens", responses: ok("tokens, not their secrets", z.object({ tokens: z.array(token) })) },
  {
    method: "post",
    path: "/tokens",
    description: "the node's token only",
    request: body(z.object({ org: name.optional(), name: name.optional() })),
    responses: made("made; the token is told this once", z.object({ ...token.shape, token: name })),
  },
  {
    method: "delete",
    path: "/tokens/{id}",
    description: "the node's token only",
    request: { params: machineParam },
    responses: gone,
  },
  {
    method: "get",
    path: "/peers",
    request: { query: z.object({ org: name.optional() }) },
    responses: ok("WireGuard clients", z.object({ peers: z.array(peer) })),
  },
  {
    method: "post",
    path: "/peers",
    request: body(
      z.object({
        name,
        public_key: name,
        org: name.optional(),
        network: name.optional(),
        region: name.optional(),
      }),
    ),
    responses: made("let in", peer),
  },
  {
    method: "delete",
    path: "/peers/{name}",
    request: {
      params: z.object({ name }),
      query: z.object({ org: name.optional(), network: name.optional() }),
    },
    responses: gone,
  },
  {
    method: "post",
    path: "/dns",
    description: "a loopback port that answers as a client of the network, for `dig`",
    request: body(place),
    responses: ok("where", z.object({ server: name, network: name, org: name })),
  },
  {
    method: "post",
    path: "/clients",
    description: "a namespace on a network, for `exec`",
    request: body(place),
    responses: ok(
      "how to enter it",
      z.looseObject({ address: name.optional(), enter: z.array(name), network: name, org: name }),
    ),
  },
  {
    method: "get",
    path: "/ca",
    responses: {
      200: { description: "PEM of the authority that signs certificates for `.flycast` names", content: text },
    },
  },
  {
    method: "get",
    path: "/fly-src.pub",
    responses: { 200: { description: "hex of the key that `Fly-Src-Signature` is verified with", content: text } },
  },
];

/** Adds them to the description of the API. */
export function describeOwnRoutes(app: OpenAPIHono<ApiEnv>): void {
  for (const route of ROUTES) {
    app.openAPIRegistry.registerPath({
      ...route,
      path: `/flycast/v1${route.path}`,
      tags: ["flycast"],
      responses: { ...route.responses, default: refused },
    });
  }
}
