import { createRoute, z } from "@hono/zod-openapi";
import { parseRegionCode } from "../core/ids.ts";
import { AppError } from "../core/errors.ts";
import { actionRoutes } from "./routes-machine-actions.ts";
import { insideRoutes } from "./routes-machine-inside.ts";
import { leaseRoutes } from "./routes-machine-leases.ts";
import { metadataRoutes } from "./routes-machine-metadata.ts";
import { findApp, valid } from "./lookup.ts";
import { MachineScope, NONCE, type MachineRoutesOptions } from "./machine-scope.ts";
import { appParam, done, isSet, json, machineParam, newRouter, queryFlag, refused, type Router } from "./openapi.ts";
import { fromPlatform } from "./platform-config.ts";
import { configJson, machineSummary } from "./platform-json.ts";
import { launchSchema, listedMachineSchema, machineEventSchema, machineSchema } from "./platform-schemas.ts";

const base = "/apps/{app}/machines";
const ASLEEP: ReadonlySet<string> = new Set(["created", "stopped", "failed"]);

/** `/v1/apps/{app}/machines` (reference §10.3). */
export function machineRoutes(options: MachineRoutesOptions): Router {
  const { registry, machines, leases, history } = options;
  const { view, commands } = registry;
  const scope = new MachineScope(options);
  const routes = newRouter();
  routes.route("/", actionRoutes(options, scope));
  routes.route("/", insideRoutes(options, scope));
  routes.route("/", leaseRoutes(options, scope));
  routes.route("/", metadataRoutes(options, scope));

  routes.openapi(
    createRoute({
      method: "get",
      path: base,
      request: {
        params: appParam,
        query: z.looseObject({
          region: z.string().max(16).optional(),
          state: z.string().max(256).optional(),
          include_deleted: queryFlag,
          summary: queryFlag,
        }),
      },
      responses: {
        200: { description: "the app's Machines", content: json(z.array(listedMachineSchema)) },
        default: refused,
      },
    }),
    (c) => {
      const app = findApp(view, c.get("principal"), c.req.valid("param").app);
      const query = c.req.valid("query");
      const states = query.state === undefined || query.state === "" ? undefined : new Set(query.state.split(","));
      const metadata = Object.entries(c.req.query()).filter(([key]) => key.startsWith("metadata."));
      const gone = isSet(query.include_deleted)
        ? [...history.allDeparted()].filter((machine) => machine.app === app.name)
        : [];
      const list = [...view.machinesOf(app.name), ...gone].filter(
        (machine) =>
          (query.region === undefined || query.region === "" || machine.region === query.region) &&
          states?.has(scope.states.of(machine.id)) !== false &&
          metadata.every(([key, value]) => machine.config.metadata[key.slice("metadata.".length)] === value),
      );
      if (!isSet(query.summary))
        return c.json(
          list.map((machine) => scope.show(machine)),
          200,
        );
      return c.json(
        list.map((machine) => machineSummary(machine, view.status(machine.id), scope.states.of(machine.id))),
        200,
      );
    },
  );

  routes.openapi(
    createRoute({
      method: "post",
      path: base,
      request: { params: appParam, body: { content: json(launchSchema), required: true } },
      responses: { 200: { description: "the new Machine", content: json(machineSchema) }, default: refused },
    }),
    async (c) => {
      const app = findApp(view, c.get("principal"), c.req.valid("param").app);
      const input = c.req.valid("json");
      if (input.config === undefined) throw new AppError("invalid", "json: config: is required");
      const config = fromPlatform(input.config, () => options.home(app));
      const region = input.region ? valid(parseRegionCode(input.region)) : (app.primaryRegion ?? options.nodeRegion);
      const machine = await commands.createMachine({
        app: app.name,
        region,
        config,
        name: input.name || undefined,
        cordoned: input.skip_service_registration ?? false,
      });
      const nonce = input.lease_ttl
        ? leases.acquire(machine.id, input.lease_ttl, "api", undefined, "").nonce
        : undefined;
      // Whether it comes up is told by its state, which clients wait for.
      if (input.skip_launch !== true) void machines.start(machine.id, "created through the API").catch(() => undefined);
      return c.json(scope.show(machine, nonce), 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "get",
      path: `${base}/{id}`,
      request: { params: machineParam },
      responses: { 200: { description: "the Machine", content: json(machineSchema) }, default: refused },
    }),
    (c) => c.json(scope.show(scope.findEver(c)), 200),
  );

  routes.openapi(
    createRoute({
      method: "post",
      path: `${base}/{id}`,
      request: { params: machineParam, body: { content: json(launchSchema), required: true } },
      responses: { 200: { description: "the changed Machine", content: json(machineSchema) }, default: refused },
    }),
    async (c) => {
      const machine = scope.findForChange(c);
      const app = findApp(view, c.get("principal"), machine.app);
      const input = c.req.valid("json");
      const { id } = machine;
      if (input.current_version && input.current_version !== machine.instance)
        throw new AppError("conflict", `the version of Machine ${id} is ${machine.instance} by now`);
      const config =
        input.config === undefined
          ? machine.config
          : fromPlatform(input.config, () => options.home(app), machine.config);
      const before = view.status(id).state;
      const updated = await commands.updateMachine(id, { config, ...(input.name ? { name: input.name } : {}) });
      const nonce = input.lease_ttl
        ? leases.acquire(id, input.lease_ttl, "api", c.req.header(NONCE), "").nonce
        : undefined;
      const because = "updated through the API";
      const isNew = updated.instance !== machine.instance;
      // The memory that a suspended Machine keeps is that of the old version.
      if (before === "suspended" && isNew) await machines.stop(id, { because, drain: false });
      else if (before === "created" && input.skip_launch !== true)
        void machines.start(id, because).catch(() => undefined);
      else if (!ASLEEP.has(before) && before !== "suspended" && isNew) {
        const work = input.skip_launch === true ? machines.stop(id, { because }) : machines.restart(id, { because });
        void scope.states.during(id, "replacing", work).catch(() => undefined);
      }
      return c.json(scope.show(updated, nonce), 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "delete",
      path: `${base}/{id}`,
      request: { params: machineParam, query: z.object({ kill: queryFlag, force: queryFlag }) },
      responses: { 200: done, default: refused },
    }),
    async (c) => {
      const machine = scope.findForChange(c);
      const { kill, force } = c.req.valid("query");
      const because = "destroyed through the API";
      const work = machines.destroy(machine.id, { force: isSet(kill) || isSet(force), because });
      const done = await scope.patiently(work);
      leases.forget(machine.id);
      return c.json({ ok: true, ...done }, 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "get",
      path: `${base}/{id}/events`,
      request: { params: machineParam },
      responses: {
        200: { description: "what happened to it, newest first", content: json(z.array(machineEventSchema)) },
        default: refused,
      },
    }),
    (c) => c.json([...history.of(scope.findEver(c))], 200),
  );

  routes.openapi(
    createRoute({
      method: "get",
      path: `${base}/{id}/versions`,
      request: { params: machineParam },
      responses: {
        200: {
          description: "its newest version alone: older ones are not kept",
          content: json(z.array(z.object({ version: z.string(), user_config: machineSchema.shape.config }))),
        },
        default: refused,
      },
    }),
    (c) => {
      const { instance, config } = scope.findEver(c);
      return c.json([{ version: instance, user_config: configJson(config) }], 200);
    },
  );
  return routes;
}
