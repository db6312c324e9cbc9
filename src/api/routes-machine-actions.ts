import { constants } from "node:os";
import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { AppError } from "../core/errors.ts";
import { ms, seconds } from "../core/units.ts";
import type { Machine } from "../registry/model.ts";
import { bodyOf, type MachineRoutesOptions, type MachineScope, type StopWish } from "./machine-scope.ts";
import { WAITABLE } from "./machine-states.ts";
import { json, machineParam, newRouter, refused, type Router } from "./openapi.ts";
import { toDuration, toSentSignal, toSignal } from "./platform-values.ts";
import type { ApiEnv } from "./server.ts";

const base = "/apps/{app}/machines/{id}";
const LONGEST_WAIT = 60;

const outcome = z.object({
  ok: z.boolean().optional(),
  message: z.string().optional(),
  status: z.string().optional(),
  previous_state: z.string().optional(),
  /** Ours: the command goes on after this answer; `wait` tells when it is done. */
  pending: z.literal(true).optional(),
});
type Outcome = z.infer<typeof outcome>;
const OK: Outcome = { ok: true };

/** What one may do to a Machine, and to wait for what comes of it (reference §10.3). */
export function actionRoutes(options: MachineRoutesOptions, scope: MachineScope): Router {
  const { registry, machines, history } = options;
  const { commands } = registry;
  const routes = newRouter();

  const action = (
    name: string,
    takes: string,
    run: (c: Context<ApiEnv>, machine: Machine) => Promise<Outcome>,
  ): void => {
    routes.openapi(
      createRoute({
        method: "post",
        path: `${base}/${name}`,
        ...(takes === "" ? {} : { description: takes }),
        // Bodies are optional and read by hand: clients send the header of one also where there is none.
        request: { params: machineParam },
        responses: { 200: { description: "done, or well on its way", content: json(outcome) }, default: refused },
      }),
      async (c) => c.json(await run(c, scope.findForChange(c)), 200),
    );
  };

  action("start", "", async (_c, { id }) => {
    const previous = scope.states.of(id);
    const done = await scope.patiently(machines.start(id, "started through the API"));
    return { message: "", status: "success", previous_state: previous, ...done };
  });
  action("stop", "{signal?, timeout?}", async (c, { id }) => {
    const { signal, timeout } = await bodyOf(c);
    const wish = { because: "stopped through the API", ...stopWish(signal, timeout) };
    return { ...OK, ...(await scope.patiently(machines.stop(id, wish))) };
  });
  action("suspend", "", async (_c, { id }) => {
    return { ...OK, ...(await scope.patiently(machines.suspend(id, "suspended through the API"))) };
  });
  action("restart", "?force_stop&timeout&signal", async (c, { id }) => {
    const force = c.req.query("force_stop") === "true";
    const wish = stopWish(c.req.query("signal"), c.req.query("timeout"));
    const because = "restarted through the API";
    const work = machines.restart(id, { because, ...wish, ...(force ? { drain: false, signal: "SIGKILL" } : {}) });
    return { ...OK, ...(await scope.patiently(scope.states.during(id, "restarting", work))) };
  });
  action("signal", "{signal}: a name or a number", async (c, { id }) => {
    const { signal } = await bodyOf(c);
    await machines.signal(id, toSentSignal(signalName(signal) ?? "none"));
    return OK;
  });
  action("cordon", "", async (_c, { id }) => {
    await commands.updateMachine(id, { cordoned: true });
    return OK;
  });
  action("uncordon", "", async (_c, { id }) => {
    await commands.updateMachine(id, { cordoned: false });
    return OK;
  });

  routes.openapi(
    createRoute({
      method: "get",
      path: `${base}/wait`,
      request: {
        params: machineParam,
        query: z.looseObject({
          timeout: z.string().max(16).optional(),
          state: z.union([z.string().max(32), z.array(z.string().max(32)).max(16)]).optional(),
          version: z.string().max(64).optional(),
          instance_id: z.string().max(64).optional(),
          from_event_id: z.string().max(64).optional(),
        }),
      },
      responses: {
        200: {
          description: "it is so, or was replaced",
          content: json(
            z.object({ ok: z.literal(true), state: z.string(), version: z.string(), event_id: z.string() }),
          ),
        },
        default: refused,
      },
    }),
    async (c) => {
      const machine = scope.findEver(c);
      const reached = (state: string, at: string) => ({
        ok: true as const,
        state,
        version: at,
        event_id: history.of(machine)[0]?.id ?? "",
      });
      const { version, instance_id: instance, timeout } = c.req.valid("query");
      const states = waitStates(c.req.queries("state"));
      const wanted = version || instance || machine.instance;
      if (wanted !== machine.instance) {
        if (states.has("replaced")) return c.json(reached("replaced", wanted), 200);
        // The platform's client tries again when it reads this.
        throw new AppError("conflict", `version ${wanted} of Machine ${machine.id} is currently replaced`);
      }
      await scope.states.wait(machine.id, states, waitTime(timeout), c.req.raw.signal);
      return c.json(reached(scope.states.of(machine.id), machine.instance), 200);
    },
  );
  return routes;
}

/** @errors invalid */
function waitStates(given: readonly string[] | undefined): ReadonlySet<string> {
  const states = (given ?? []).flatMap((state) => state.split(",")).filter((state) => state !== "");
  const unknown = states.find((state) => !WAITABLE.includes(state));
  if (unknown !== undefined) {
    throw new AppError("invalid", `query: state: "${unknown.slice(0, 32)}" is not one of ${WAITABLE.join(", ")}`);
  }
  return new Set(states.length === 0 ? ["started"] : states);
}

/** Whole or fractional seconds, held between 1 and 60. @errors invalid */
function waitTime(text: string | undefined) {
  if (text === undefined || text === "") return seconds(LONGEST_WAIT);
  const asked = Number(/^(-?\d+(?:\.\d+)?)s?$/.exec(text)?.[1]);
  if (Number.isNaN(asked)) throw new AppError("invalid", "query: timeout: must be a number of seconds");
  return seconds(Math.min(LONGEST_WAIT, Math.max(1, asked)));
}

/** What a stop or restart may name; absent, empty and zero mean the Machine's own: flyctl always sends a timeout. */
function stopWish(signal: unknown, timeout: unknown): Pick<StopWish, "signal" | "timeout"> {
  const name = signalName(signal);
  const isTime = typeof timeout === "string" || typeof timeout === "number" || timeout == null;
  if (!isTime) throw new AppError("invalid", "json: timeout: must be a duration, such as 10s");
  const asked = toDuration(timeout, ms(0), "timeout");
  return {
    ...(name === undefined ? {} : { signal: toSignal(name) }),
    ...(asked === 0 ? {} : { timeout: asked }),
  };
}

/** flyctl sends a number, the platform's documentation says a name. @errors invalid */
function signalName(signal: unknown): string | undefined {
  if (signal == null || signal === "" || signal === 0) return undefined;
  if (typeof signal === "string") return signal;
  const name = Object.entries(constants.signals).find(([, number]) => number === signal)?.[0];
  if (name === undefined) throw new AppError("invalid", "json: signal: must be a signal's name or number");
  return name;
}
