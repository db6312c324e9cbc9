import { createRoute, z } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import type { Machine } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import { findApp } from "./lookup.ts";
import { appParam, json, newRouter, refused, type Router } from "./openapi.ts";

/** Lines of a Machine's output, and where the next look begins. */
export interface LogLot {
  /** `time` in milliseconds since the epoch. */
  readonly lines: readonly { readonly time: number; readonly text: string }[];
  readonly position: number;
}

/** Whole lines since a position, a bounded number of them; without a position the last `lines`. */
export type LogSince = (id: MachineId, position: number | undefined, lines: number) => LogLot;

const FIRST_LINES = 100;
/** Characters of one answer. What is left comes with the next. */
const ENOUGH = 512 * 1024;

const entry = z.object({
  id: z.string(),
  attributes: z.object({
    timestamp: z.iso.datetime(),
    message: z.string(),
    level: z.string(),
    instance: z.string(),
    region: z.string(),
    meta: z.object({
      instance: z.string(),
      region: z.string(),
      event: z.object({ provider: z.string() }),
    }),
  }),
});

/**
 * `/api/v1/apps/{app}/logs`: what the platform's command line polls for `logs` (superfly/fly-go `resource_logs.go`). The
 * token says how far each Machine's output has been read: `ID.POSITION` for each, with commas between.
 */
export function appLogRoutes(view: RegistryView, logSince: LogSince): Router {
  const routes = newRouter();
  routes.openapi(
    createRoute({
      method: "get",
      path: "/apps/{app}/logs",
      request: {
        params: appParam,
        query: z.looseObject({
          next_token: z
            .string()
            .max(32 * 1024)
            .optional(),
          instance: z.string().max(32).optional(),
          region: z.string().max(16).optional(),
        }),
      },
      responses: {
        200: {
          description: "lines that came since, oldest first",
          content: json(z.object({ data: z.array(entry), meta: z.object({ next_token: z.string() }) })),
        },
        default: refused,
      },
    }),
    (c) => {
      const app = findApp(view, c.get("principal"), c.req.valid("param").app);
      const { next_token: token, instance, region } = c.req.valid("query");
      const positions = parseToken(token ?? "");
      const machines = view
        .machinesOf(app.name)
        .filter((machine) => !instance || machine.id === instance)
        .filter((machine) => !region || machine.region === region);
      const data: z.infer<typeof entry>[] = [];
      let size = 0;
      for (const machine of machines) {
        // A Machine that came after the first look is read from its beginning.
        const from = positions.get(machine.id) ?? (token ? 0 : undefined);
        if (size > ENOUGH) {
          if (from !== undefined) positions.set(machine.id, from);
          continue;
        }
        const lot = logSince(machine.id, from, FIRST_LINES);
        positions.set(machine.id, lot.position);
        for (const [index, { time, text }] of lot.lines.entries()) {
          size += text.length;
          data.push(entryOf(machine, `${machine.id}.${lot.position}.${index}`, time, text));
        }
      }
      data.sort((a, b) => (a.attributes.timestamp < b.attributes.timestamp ? -1 : 1));
      const next = machines.flatMap(({ id }) => (positions.has(id) ? [`${id}.${positions.get(id)}`] : [])).join(",");
      return c.json({ data, meta: { next_token: next } }, 200);
    },
  );
  return routes;
}

function entryOf(machine: Machine, id: string, time: number, message: string): z.infer<typeof entry> {
  const { id: instance, region } = machine;
  return {
    id,
    attributes: {
      timestamp: new Date(time).toISOString(),
      message,
      level: "info",
      instance,
      region,
      meta: { instance, region, event: { provider: "app" } },
    },
  };
}

/** @errors invalid */
function parseToken(token: string): Map<string, number> {
  if (token === "") return new Map();
  if (!/^[0-9a-f]{14}\.\d{1,15}(?:,[0-9a-f]{14}\.\d{1,15})*$/.test(token))
    throw new AppError("invalid", "query: next_token: is not one that this node gave");
  return new Map(
    token.split(",").map((part) => {
      const [id = "", position = "0"] = part.split(".");
      return [id, Number(position)];
    }),
  );
}
