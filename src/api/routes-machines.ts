import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { AppError } from "../core/errors.ts";
import type { MachineId, RegionCode } from "../core/ids.ts";
import { parseRegionCode } from "../core/ids.ts";
import { ms, seconds, type Milliseconds } from "../core/units.ts";
import type { Signal } from "../config/model.ts";
import type { Registry } from "../registry/commands.ts";
import { publicState, type App, type Machine } from "../registry/model.ts";
import type { History } from "./history.ts";
import type { Leases } from "./leases.ts";
import { findApp, findMachine, valid } from "./lookup.ts";
import { newRouter, type Router } from "./openapi.ts";
import { fromPlatform, toDuration, toSignal, type ApiMachineHome } from "./platform-config.ts";
import { machineJson } from "./platform-json.ts";
import { errorSchema, launchSchema, leaseSchema, machineSchema } from "./platform-schemas.ts";
import type { ApiEnv } from "./server.ts";

/** What the API asks of the Machines. */
export interface MachineCommands {
  start(id: MachineId, because: string): Promise<void>;
  stop(
    id: MachineId,
    how: {
      readonly because: string;
      readonly signal?: Signal | undefined;
      readonly timeout?: Milliseconds | undefined;
    },
  ): Promise<void>;
  suspend(id: MachineId, because: string): Promise<void>;
  signal(id: MachineId, signal: Signal): Promise<void>;
  destroy(id: MachineId, options: { readonly force: boolean; readonly because: string }): Promise<void>;
  restartIfRunning(id: MachineId, because: string): Promise<void>;
}

export interface MachineRoutesOptions {
  readonly registry: Registry;
  readonly machines: MachineCommands;
  readonly leases: Leases;
  readonly history: History;
  readonly nodeRegion: RegionCode;
  /** Folder and user of Machines made through the API. @errors forbidden where root would run them */
  readonly home: (app: App) => ApiMachineHome;
}

const NONCE = "fly-machine-lease-nonce";
const SETTLED: ReadonlySet<string> = new Set(["created", "started", "stopped", "suspended", "failed", "destroyed"]);
const json = <T extends z.ZodType>(schema: T) => ({ "application/json": { schema } });
const refused = { description: "refused", content: json(errorSchema) };
const done = { description: "done", content: json(z.looseObject({ ok: z.boolean().optional() })) };
const appParam = z.object({ app: z.string().max(63) });
const idParam = appParam.extend({ id: z.string().max(32) });
const looseBody = { content: json(z.looseObject({})), required: false };

/** `/v1/apps/{app}/machines` (reference §10.3). */
export function machineRoutes(options: MachineRoutesOptions): Router {
  const { registry, machines, leases, history } = options;
  const { view, commands } = registry;
  const routes = newRouter();
  const base = "/apps/{app}/machines";

  const show = (machine: Machine): object => {
    const lease = leases.current(machine.id);
    return machineJson(machine, view.status(machine.id), history.of(machine.id), lease?.nonce);
  };
  const find = (c: Context<ApiEnv>): Machine => {
    const app = findApp(view, c.get("principal"), c.req.param("app") ?? "");
    return findMachine(view, c.get("principal"), c.req.param("id") ?? "", app);
  };
  /** The Machine, unless somebody else holds its lease. */
  const findForChange = (c: Context<ApiEnv>): Machine => {
    const machine = find(c);
    leases.check(machine.id, c.req.header(NONCE));
    return machine;
  };

  routes.openapi(
    createRoute({
      method: "get",
      path: base,
      request: {
        params: appParam,
        query: z.looseObject({
          region: z.string().optional(),
          state: z.string().optional(),
          include_deleted: z.string().optional(),
        }),
      },
      responses: {
        200: { description: "the app's Machines", content: json(z.array(machineSchema)) },
        default: refused,
      },
    }),
    (c) => {
      const app = findApp(view, c.get("principal"), c.req.valid("param").app);
      const query = c.req.query();
      const list = view.machinesOf(app.name).filter((machine) => {
        const state = publicState(view.status(machine.id).state);
        if (query["region"] && machine.region !== query["region"]) return false;
        if (query["state"] && !query["state"].split(",").includes(state)) return false;
        return Object.entries(query).every(
          ([key, value]) =>
            !key.startsWith("metadata.") || machine.config.metadata[key.slice("metadata.".length)] === value,
        );
      });
      return c.json(list.map(show) as never, 200);
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
      const config = fromPlatform(input.config, options.home(app));
      const region = input.region ? valid(parseRegionCode(input.region)) : (app.primaryRegion ?? options.nodeRegion);
      const machine = await commands.createMachine({
        app: app.name,
        region,
        config,
        name: input.name ?? undefined,
        cordoned: input.skip_service_registration ?? false,
      });
      if (input.lease_ttl) leases.acquire(machine.id, input.lease_ttl, "api", undefined, "");
      if (input.skip_launch !== true) void machines.start(machine.id, "created through the API").catch(() => undefined);
      return c.json(show(machine) as never, 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "get",
      path: `${base}/{id}`,
      request: { params: idParam },
      responses: { 200: { description: "the Machine", content: json(machineSchema) }, default: refused },
    }),
    (c) => c.json(show(find(c)) as never, 200),
  );

  routes.openapi(
    createRoute({
      method: "post",
      path: `${base}/{id}`,
      request: { params: idParam, body: { content: json(launchSchema), required: true } },
      responses: { 200: { description: "the changed Machine", content: json(machineSchema) }, default: refused },
    }),
    async (c) => {
      const machine = findForChange(c);
      const app = findApp(view, c.get("principal"), machine.app);
      const input = c.req.valid("json");
      const config = input.config === undefined ? machine.config : fromPlatform(input.config, options.home(app));
      const wasAsleep = ["stopped", "suspended", "created"].includes(view.status(machine.id).state);
      const updated = await commands.updateMachine(machine.id, { config, ...(input.name ? { name: input.name } : {}) });
      if (wasAsleep && input.skip_launch !== true && view.status(machine.id).state === "created") {
        void machines.start(machine.id, "updated through the API").catch(() => undefined);
      } else if (!wasAsleep) {
        void machines.restartIfRunning(machine.id, "updated through the API").catch(() => undefined);
      }
      return c.json(show(updated) as never, 200);
    },
  );

  routes.openapi(
    createRoute({
      method: "delete",
      path: `${base}/{id}`,
      request: { params: idParam, query: z.object({ kill: z.string().optional(), force: z.string().optional() }) },
      responses: { 200: done, default: refused },
    }),
    async (c) => {
      const machine = findForChange(c);
      const { kill, force } = c.req.valid("query");
      await machines.destroy(machine.id, {
        force: kill === "true" || force === "true",
        because: "destroyed through the API",
      });
      leases.forget(machine.id);
      return c.json({ ok: true }, 200);
    },
  );

  const action = (name: string, run: (c: Context<ApiEnv>, machine: Machine) => Promise<object>): void => {
    routes.openapi(
      createRoute({
        method: "post",
        path: `${base}/{id}/${name}`,
        request: { params: idParam, body: looseBody },
        responses: { 200: done, default: refused },
      }),
      async (c) => c.json((await run(c, findForChange(c))) as never, 200),
    );
  };

  action("start", async (_c, machine) => {
    const previous = publicState(view.status(machine.id).state);
    await machines.start(machine.id, "started through the API");
    return { message: "", status: "success", previous_state: previous };
  });
  action("stop", async (c, machine) => {
    const body = await bodyOf(c);
    const signal = typeof body["signal"] === "string" && body["signal"] !== "" ? toSignal(body["signal"]) : undefined;
    const timeout = body["timeout"] as string | number | undefined;
    // "0s" is what flyctl sends when nothing was asked for.
    const asked = toDuration(timeout, ms(0), "timeout");
    await machines.stop(machine.id, {
      because: "stopped through the API",
      signal,
      timeout: asked === 0 ? undefined : asked,
    });
    return { ok: true };
  });
  action("suspend", async (_c, machine) => {
    await machines.suspend(machine.id, "suspended through the API");
    return { ok: true };
  });
  action("restart", async (c, machine) => {
    const force = c.req.query("force_stop") === "true";
    await machines.stop(machine.id, { because: "restarted through the API", ...(force ? { timeout: ms(1) } : {}) });
    await machines.start(machine.id, "restarted through the API");
    return { ok: true };
  });
  action("signal", async (c, machine) => {
    const signal = (await bodyOf(c))["signal"];
    const name = typeof signal === "number" ? SIGNAL_NUMBERS[signal] : signal;
    if (typeof name !== "string") throw new AppError("invalid", "json: signal: must be a signal's name or number");
    await machines.signal(machine.id, toSignal(name));
    return { ok: true };
  });
  action("cordon", async (_c, machine) => {
    await commands.updateMachine(machine.id, { cordoned: true });
    return { ok: true };
  });
  action("uncordon", async (_c, machine) => {
    await commands.updateMachine(machine.id, { cordoned: false });
    return { ok: true };
  });

  routes.openapi(
    createRoute({
      method: "get",
      path: `${base}/{id}/wait`,
      request: {
        params: idParam,
        query: z.looseObject({ timeout: z.string().optional(), version: z.string().optional() }),
      },
      responses: { 200: done, default: refused },
    }),
    async (c) => {
      const machine = find(c);
      const states = new Set(c.req.queries("state")?.flatMap((state) => state.split(",")) ?? ["started"]);
      const asked = Number.parseFloat(c.req.query("timeout") ?? "60");
      const timeout = seconds(Math.min(60, Math.max(1, Number.isFinite(asked) ? asked : 60)));
      await waitFor(registry, machine.id, states, timeout, c.req.raw.signal);
      return c.json({ ok: true }, 200);
    },
  );

  const lease = (
    method: "get" | "post" | "delete",
    run: (c: Context<ApiEnv>, machine: Machine) => Promise<object>,
  ): void => {
    routes.openapi(
      createRoute({
        method,
        path: `${base}/{id}/lease`,
        request: { params: idParam },
        responses: { 200: { description: "the lease", content: json(leaseSchema) }, default: refused },
      }),
      async (c) => c.json((await run(c, find(c))) as never, 200),
    );
  };
  const leaseJson = (machine: Machine): object => {
    const held = leases.current(machine.id);
    if (held === undefined) throw new AppError("not_found", "lease not found");
    return {
      status: "success",
      data: {
        nonce: held.nonce,
        expires_at: Math.floor(held.expiresAt / 1000),
        owner: held.owner,
        description: held.description,
        version: machine.instance,
      },
    };
  };
  lease("get", async (_c, machine) => leaseJson(machine));
  lease("post", async (c, machine) => {
    const body = await bodyOf(c);
    const asked = Number(c.req.query("ttl") ?? body["ttl"] ?? 120);
    const ttl = Number.isFinite(asked) ? Math.min(24 * 3600, Math.max(1, asked)) : 120;
    leases.acquire(
      machine.id,
      ttl,
      "api",
      c.req.header(NONCE),
      typeof body["description"] === "string" ? body["description"] : "",
    );
    return leaseJson(machine);
  });
  lease("delete", async (c, machine) => {
    leases.release(machine.id, c.req.header(NONCE));
    return { status: "success", data: { nonce: "", expires_at: 0, owner: "", version: machine.instance } };
  });

  routes.openapi(
    createRoute({
      method: "get",
      path: `${base}/{id}/metadata`,
      request: { params: idParam },
      responses: {
        200: { description: "metadata", content: json(z.record(z.string(), z.string())) },
        default: refused,
      },
    }),
    (c) => c.json(find(c).config.metadata as never, 200),
  );
  const metaParam = idParam.extend({ key: z.string().max(256) });
  const setMetadata = async (machine: Machine, key: string, value: string | undefined): Promise<void> => {
    const { [key]: _old, ...rest } = machine.config.metadata;
    const metadata = value === undefined ? rest : { ...rest, [key]: value };
    await commands.updateMachine(machine.id, { config: { ...machine.config, metadata } });
  };
  routes.openapi(
    createRoute({
      method: "post",
      path: `${base}/{id}/metadata/{key}`,
      request: {
        params: metaParam,
        body: { content: json(z.object({ value: z.string().max(4096) })), required: true },
      },
      responses: { 204: { description: "set" }, default: refused },
    }),
    async (c) => {
      await setMetadata(findForChange(c), c.req.valid("param").key, c.req.valid("json").value);
      return c.body(null, 204);
    },
  );
  routes.openapi(
    createRoute({
      method: "delete",
      path: `${base}/{id}/metadata/{key}`,
      request: { params: metaParam },
      responses: { 204: { description: "removed" }, default: refused },
    }),
    async (c) => {
      await setMetadata(findForChange(c), c.req.valid("param").key, undefined);
      return c.body(null, 204);
    },
  );
  return routes;
}

/** Resolves when the Machine is in one of the states; `settled` stands for any that stays. @errors timeout */
async function waitFor(
  registry: Registry,
  id: MachineId,
  states: ReadonlySet<string>,
  timeout: Milliseconds,
  signal: AbortSignal,
): Promise<void> {
  const reached = (): boolean => {
    if (registry.view.machine(id) === undefined) return states.has("destroyed");
    const state = publicState(registry.view.status(id).state);
    return states.has(state) || (states.has("settled") && SETTLED.has(state));
  };
  if (reached()) return;
  await new Promise<void>((resolve, reject) => {
    const finish = (end: () => void): void => {
      clearTimeout(timer);
      unsubscribe();
      signal.removeEventListener("abort", onAbort);
      end();
    };
    const onAbort = (): void => finish(resolve);
    const timer = setTimeout(
      () => finish(() => reject(new AppError("timeout", "machine failed to reach desired state"))),
      timeout,
    );
    const unsubscribe = registry.changes.subscribe((change) => {
      if ((change.kind === "status" || change.kind === "machine") && change.id === id && reached()) finish(resolve);
    });
    signal.addEventListener("abort", onAbort);
  });
}

async function bodyOf(c: Context<ApiEnv>): Promise<Record<string, unknown>> {
  const text = await c.req.text();
  if (text.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Falls through to the refusal.
  }
  throw new AppError("invalid", "json: the body is not a JSON object");
}

const SIGNAL_NUMBERS: Readonly<Record<number, string>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  9: "SIGKILL",
  10: "SIGUSR1",
  12: "SIGUSR2",
  15: "SIGTERM",
  19: "SIGSTOP",
};
