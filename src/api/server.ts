import { createServer, type IncomingMessage } from "node:http";
import type { Server } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { bodyLimit } from "hono/body-limit";
import { AppError, toAppError } from "../core/errors.ts";
import type { NetworkId } from "../core/ids.ts";
import type { Region } from "../core/regions.ts";
import type { App } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import { graphqlRoute } from "./graphql/route.ts";
import type { GraphqlDeps } from "./graphql/resolvers.ts";
import { newRouter } from "./openapi.ts";
import { problem } from "./problem.ts";
import { appRoutes } from "./routes-apps.ts";
import { flycastRoutes, type FlycastDeps } from "./routes-flycast.ts";
import { machineRoutes, type MachineRoutesOptions } from "./routes-machines.ts";
import { platformRoutes } from "./routes-platform.ts";
import { authenticate, bearerOf, type Principal } from "./tokens.ts";

/** Where a request came in: the computer's loopback, or from inside a network. */
export type Via = { readonly kind: "outside" } | { readonly kind: "inside"; readonly network: NetworkId | undefined };

export interface ApiEnv {
  Variables: { principal: Principal; via: Via };
  Bindings: { incoming: IncomingMessage };
}

export interface ApiOptions extends FlycastDeps, MachineRoutesOptions {
  readonly gateway: GraphqlDeps["gateway"];
  readonly regions: () => readonly Region[];
  readonly version: string;
  /** The node's own token, from the state folder. */
  readonly nodeToken: string;
  readonly metrics: () => Promise<string>;
  readonly ready: () => boolean;
  /** The network of a caller inside, by its source address. */
  readonly networkOf: (address: string) => NetworkId | undefined;
  readonly log: { error(details: object, message: string): void };
}

export interface Api {
  /** Serves the API on a server that listens already. */
  attach(server: Server, kind: Via["kind"]): void;
  close(): Promise<void>;
}

const MAX_BODY = 1024 * 1024;

/** The HTTP API. Every answer but those named in `isOpen` needs a token. */
export function createApi(options: ApiOptions): Api {
  const vias = new WeakMap<object, Via["kind"]>();
  const app = newRouter();

  app.onError((thrown, c) => {
    const error = toAppError(thrown);
    if (error.code === "internal") options.log.error({ err: thrown, path: c.req.path }, "the API failed");
    const { status, body } = problem(error.code === "internal" ? new AppError("internal") : error);
    return c.json(body, status);
  });
  app.notFound((c) =>
    c.json({ error: `there is nothing at ${c.req.method} ${c.req.path}`, status: "unknown", code: "not_found" }, 404),
  );

  app.use(async (c, next) => {
    const { incoming } = c.env;
    const kind = vias.get(incoming.socket) ?? "outside";
    const via: Via =
      kind === "outside" ? { kind } : { kind, network: options.networkOf(incoming.socket.remoteAddress ?? "") };
    c.set("via", via);
    refuseForeignHost(incoming, kind);
    if (isOpen(c.req.method, c.req.path, kind)) return next();
    const token = bearerOf(c.req.header("authorization"));
    const principal = token === undefined ? undefined : authenticate(token, options.nodeToken, options.registry.view);
    if (principal === undefined) {
      throw new AppError(
        "unauthorized",
        "This needs a token: send `Authorization: Bearer TOKEN`. The node's own is in its state folder, in the file `token`.",
      );
    }
    refuseForeignNetwork(principal, via, options.registry.view);
    c.set("principal", principal);
    return next();
  });
  app.use(
    bodyLimit({
      maxSize: MAX_BODY,
      onError: () => {
        throw new AppError("invalid", `the body is larger than ${MAX_BODY} bytes`);
      },
    }),
  );

  // Clients of the platform's API probe `/` and expect exactly this (reference §7.4).
  app.get("/", (c) => c.json({ error: "not found", status: "unknown", code: "not_found" }, 404));
  app.get("/healthz", (c) => c.text("ok\n"));
  app.get("/readyz", (c) => (options.ready() ? c.text("ok\n") : c.text("starting\n", 503)));
  app.get("/metrics", async (c) =>
    c.text(await options.metrics(), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }),
  );
  app.route("/flycast/v1", flycastRoutes(options));
  app.route(
    "/v1",
    appRoutes(options.registry, (owner, force) => destroyAll(options, owner, force)),
  );
  app.route("/v1", machineRoutes(options));
  app.route("/v1", platformRoutes(options.regions, options.nodeRegion));
  const graphql = graphqlRoute({
    ...options,
    destroyApp: async (owner) => {
      await destroyAll(options, owner, true);
      await options.registry.commands.destroyApp(owner.name);
    },
  });
  app.route("/graphql", graphql);
  app.doc31("/openapi.json", {
    openapi: "3.1.0",
    info: { title: "Flycast Machines API", version: options.version },
    security: [{ bearer: [] }],
  });
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", { type: "http", scheme: "bearer" });

  const listener = getRequestListener(app.fetch);
  const http = createServer(
    { requestTimeout: 30_000, headersTimeout: 10_000, keepAliveTimeout: 30_000, maxHeaderSize: 32 * 1024 },
    (request, response) => void listener(request, response),
  );
  http.on("clientError", (_error, socket) => {
    if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    else socket.destroy();
  });
  const servers: Server[] = [];
  return {
    attach(server, kind) {
      servers.push(server);
      server.on("connection", (socket) => {
        vias.set(socket, kind);
        http.emit("connection", socket);
      });
    },
    async close() {
      for (const server of servers) server.close();
      http.closeAllConnections();
      await new Promise<void>((resolve) => {
        http.close(() => resolve());
      });
    },
  };
}

async function destroyAll(options: ApiOptions, app: App, force: boolean): Promise<void> {
  const machines = options.registry.view.machinesOf(app.name);
  await Promise.all(
    machines.map((machine) => options.machines.destroy(machine.id, { force, because: "its app is destroyed" })),
  );
}

function isOpen(method: string, path: string, kind: Via["kind"]): boolean {
  if (method !== "GET" && method !== "HEAD") return false;
  if (path === "/" || path === "/healthz" || path === "/readyz" || path === "/openapi.json") return true;
  return path === "/metrics" && kind === "outside";
}

const OUTSIDE_HOSTS = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i;
const INSIDE_HOSTS = /^(?:_api\.internal|\[fdaa:[0-9a-f:]+\]|flaps)(?::\d+)?$/i;

/** A page in a browser must not reach the API by a name of its own that it pointed at us (DNS rebinding). */
function refuseForeignHost(request: IncomingMessage, kind: Via["kind"]): void {
  const host = request.headers.host ?? "";
  const ours = kind === "outside" ? OUTSIDE_HOSTS : INSIDE_HOSTS;
  if (!ours.test(host)) throw new AppError("forbidden", "the Host header names somebody else");
  const origin = request.headers.origin;
  if (origin !== undefined && origin !== `http://${host}`)
    throw new AppError("forbidden", "requests from web pages are not taken");
}

/** From inside, a token counts only on a network of its own organisation. */
function refuseForeignNetwork(principal: Principal, via: Via, view: RegistryView): void {
  if (via.kind !== "inside") return;
  const network = via.network === undefined ? undefined : view.network(via.network);
  if (network === undefined) throw new AppError("forbidden", "the caller's network is not known");
  if (principal.kind === "org" && principal.org !== network.org) {
    throw new AppError("forbidden", "the token belongs to another organisation than the caller's network");
  }
}
