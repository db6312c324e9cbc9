import { createRoute, z } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
import type { Machine } from "../registry/model.ts";
import type { MachineRoutesOptions, MachineScope } from "./machine-scope.ts";
import { json, machineParam, newRouter, refused, type Router } from "./openapi.ts";

const base = "/apps/{app}/machines/{id}/metadata";
const MOST_KEYS = 256;

/** `/metadata` of a Machine. A change makes no new version, and the process is not touched (reference §8.3). */
export function metadataRoutes({ registry }: MachineRoutesOptions, scope: MachineScope): Router {
  const routes = newRouter();
  const keyParam = machineParam.extend({ key: z.string().min(1).max(256) });
  const set = async (machine: Machine, key: string, value: string | undefined): Promise<void> => {
    const others = Object.entries(machine.config.metadata).filter(([name]) => name !== key);
    if (value !== undefined && others.length >= MOST_KEYS)
      throw new AppError("invalid", `a Machine has at most ${MOST_KEYS} metadata keys`);
    const metadata = Object.fromEntries(value === undefined ? others : [...others, [key, value]]);
    await registry.commands.updateMachine(machine.id, { config: { ...machine.config, metadata } });
  };

  routes.openapi(
    createRoute({
      method: "get",
      path: base,
      request: { params: machineParam },
      responses: {
        200: { description: "metadata", content: json(z.record(z.string(), z.string())) },
        default: refused,
      },
    }),
    (c) => c.json({ ...scope.find(c).config.metadata }, 200),
  );
  routes.openapi(
    createRoute({
      method: "post",
      path: `${base}/{key}`,
      request: {
        params: keyParam,
        body: { content: json(z.object({ value: z.string().max(4096) })), required: true },
      },
      responses: { 204: { description: "set" }, default: refused },
    }),
    async (c) => {
      await set(scope.findForChange(c), c.req.valid("param").key, c.req.valid("json").value);
      return c.body(null, 204);
    },
  );
  routes.openapi(
    createRoute({
      method: "delete",
      path: `${base}/{key}`,
      request: { params: keyParam },
      responses: { 204: { description: "removed" }, default: refused },
    }),
    async (c) => {
      await set(scope.findForChange(c), c.req.valid("param").key, undefined);
      return c.body(null, 204);
    },
  );
  return routes;
}
