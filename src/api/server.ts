import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { Server } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { AppError, toAppError } from "../core/errors.ts";
import type { NetworkId } from "../core/ids.ts";
import type { Region } from "../core/regions.ts";
import { seconds, type Milliseconds } from "../core/units.ts";
import type { App } from "../registry/model.ts";
import { Connections } from "./connections.ts";
import { admit, type Via } from "./gate.ts";
import type { GraphqlDeps } from "./graphql/asked.ts";
import { graphqlRoute } from "./graphql/route.ts";
import { jsonBodies } from "./json-bodies.ts";
import type { MachineRoutesOptions } from "./machine-scope.ts";
import { newRouter } from "./openapi.ts";
import { describeOwnRoutes } from "./own-description.ts";
import { problem } from "./problem.ts";
import { RateLimit, type Rate } from "./rate-limit.ts";
import { appLogRoutes, type LogSince } from "./routes-app-logs.ts";
import { appRoutes } from "./routes-apps.ts";
import { buildRoutes } from "./routes-builds.ts";
import { flycastRoutes, type FlycastDeps } from "./routes-flycast.ts";
import { machineRoutes } from "./routes-machines.ts";
import { missingRoutes } from "./routes-missing.ts";
import { orgRoutes } from "./routes-orgs.ts";
import { platformRoutes } from "./routes-platform.ts";
import { wireGuardRoutes } from "./routes-wireguard.ts";
import { secretRoutes } from "./routes-secrets.ts";
import { uiexRoutes } from "./routes-uiex.ts";
import type { Secrets } from "./secrets.ts";
import type { Principal } from "./tokens.ts";

export interface ApiEnv {
  Variables: {
    principal: Principal;
    via: Via;
    /** Counts this request as so many more. */
    charge: (requests: number) => void;
  };
  Bindings: { incoming: IncomingMessage };
}

export interface ApiOptions extends FlycastDeps, MachineRoutesOptions {
  readonly gateway: GraphqlDeps["gateway"];
  readonly regions: () => readonly Region[];
  readonly version: string;
  /** The node's own token, from the state folder. */
  readonly nodeToken: string;
  readonly secrets: Secrets;
  readonly logSince: LogSince;
  readonly metrics: () => Promise<string>;
  readonly ready: () => boolean;
  /** The network of a caller inside, by its source address. */
  readonly networkOf: (address: string) => NetworkId | undefined;
  /** For a head to arrive; a whole request has three times as long. @default 10 s */
  readonly headTimeout?: Milliseconds;
  readonly log: { error(details: object, message: string): void };
}

export interface Api {
  /** Serves the API on a server that listens already. */
  attach(server: Server, kind: Via["kind"]): void;
  /** What `/openapi.json` answers. */
  describe(): object;
  close(): Promise<void>;
}

const HEAD_TIMEOUT = seconds(10);
const MAX_BODY = 1024 * 1024;
/** By source address. Outside is the user's own computer, where a prober and a deploy may be busy at once. */
const RATES: Readonly<Record<Via["kind"], Rate>> = {
  inside: { perSecond: 50, burst: 200 },
  outside: { perSecond: 1000, burst: 5000 },
};

/** What Node could not read as a request. */
const REFUSALS: Readonly<Record<string, string>> = {
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
};

/** The HTTP API. Every answer but those that the gate leaves open needs a token. */
export function createApi(options: ApiOptions): Api {
  const { view, commands } = options.registry;
  const connections = new Connections();
  const limits = {
    inside: new RateLimit(options.clock, RATES.inside),
    outside: new RateLimit(options.clock, RATES.outside),
  };
  const app = newRouter();

  app.onError((thrown, c) => {
    const error = asAppError(thrown);
    if (error.code === "internal") options.log.error({ err: thrown, path: c.req.path }, "the API failed");
    const { status, body } = problem(error.code === "internal" ? new AppError("internal") : error);
    const { retryAfter } = error.details;
    if (typeof retryAfter === "number") c.header("retry-after", String(retryAfter));
    return c.json(body, status);
  });
  app.notFound((c) => {
    const { status, body } = problem(new AppError("not_found", `there is nothing at ${c.req.method} ${c.req.path}`));
    return c.json(body, status);
  });

  app.use(async (c, next) => {
    const { incoming } = c.env;
    // The platform's client prints it beside every error.
    c.header("fly-request-id", randomBytes(8).toString("hex"));
    const kind = connections.kindOf(incoming.socket);
    const address = incoming.socket.remoteAddress ?? "";
    const via: Via = kind === "outside" ? { kind } : { kind, network: options.networkOf(address) };
    limits[kind].take(address);
    c.set("charge", (requests) => limits[kind].charge(address, requests));
    const principal = admit(incoming, c.req.path, via, { view, nodeToken: options.nodeToken });
    c.set("via", via);
    if (principal !== undefined) c.set("principal", principal);
    return next();
  });
  app.use(
    bodyLimit({
      maxSize: MAX_BODY,
      onError: (c) => c.json(problem(new AppError("invalid", `the body is larger than ${MAX_BODY} bytes`)).body, 413),
    }),
  );
  app.use(jsonBodies);

  // Clients of the platform's API probe `/` and expect exactly this (reference §7.4).
  app.get("/", (c) => c.notFound());
  app.get("/healthz", (c) => c.text("ok\n"));
  app.get("/readyz", (c) => (options.ready() ? c.text("ok\n") : c.text("starting\n", 503)));
  app.get("/metrics", async (c) =>
    c.text(await options.metrics(), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }),
  );
  const destroyApp = async (owner: App): Promise<void> => {
    await destroyMachines(options, owner);
    await commands.destroyApp(owner.name);
    await options.secrets.forget(owner.name);
  };
  app.route("/flycast/v1", flycastRoutes(options));
  app.route("/flycast/v1", wireGuardRoutes(options));
  describeOwnRoutes(app);
  app.route("/v1", appRoutes(options.registry, destroyApp));
  app.route("/v1", machineRoutes(options));
  app.route("/v1", platformRoutes(options.regions, options.nodeRegion));
  app.route("/v1", secretRoutes(view, options.secrets));
  app.route("/v1", orgRoutes(view, options.history));
  app.route("/v1", missingRoutes(view));
  app.route("/api/v1", uiexRoutes(view, options.clock));
  app.route("/api/v1", buildRoutes(view, options.clock));
  app.route("/api/v1", appLogRoutes(view, options.logSince));
  app.route("/graphql", graphqlRoute({ ...options, destroyApp }));
  const description = {
    openapi: "3.1.0",
    info: { title: "Flycast Machines API", version: options.version },
    security: [{ bearer: [] }],
  };
  app.doc31("/openapi.json", description);
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", { type: "http", scheme: "bearer" });

  const listener = getRequestListener(app.fetch);
  const headTimeout = options.headTimeout ?? HEAD_TIMEOUT;
  const http = createServer(
    {
      headersTimeout: headTimeout,
      requestTimeout: 3 * headTimeout,
      connectionsCheckingInterval: headTimeout / 2,
      keepAliveTimeout: 30_000,
      maxHeaderSize: 32 * 1024,
    },
    (request, response) => void listener(request, response),
  );
  // It never listens itself: without the word that it does, Node watches none of those times.
  http.emit("listening");
  http.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    if (!socket.writable) return void socket.destroy();
    socket.end(
      `HTTP/1.1 ${REFUSALS[error.code ?? ""] ?? "400 Bad Request"}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
    );
  });
  return {
    attach: (server, kind) => connections.attach(server, kind, http),
    describe: () => app.getOpenAPI31Document(description),
    async close() {
      connections.close();
      http.closeAllConnections();
      await new Promise<void>((resolve) => {
        http.close(() => resolve());
      });
    },
  };
}

/** The framework refuses malformed JSON, undecodable paths and the like with errors of its own. */
function asAppError(thrown: unknown): AppError {
  if (thrown instanceof HTTPException && thrown.status < 500) {
    return new AppError("invalid", thrown.message === "" ? "the request is malformed" : thrown.message, {
      cause: thrown,
    });
  }
  return toAppError(thrown);
}

async function destroyMachines(options: ApiOptions, app: App): Promise<void> {
  const { view } = options.registry;
  await Promise.all(
    view.machinesOf(app.name).map(async ({ id }) => {
      await options.machines.destroy(id, { force: true, because: "its app is destroyed" }).catch((thrown: unknown) => {
        // Somebody else's command, or its own end, was quicker.
        if (view.machine(id) !== undefined) throw thrown;
      });
      options.leases.forget(id);
    }),
  );
}
