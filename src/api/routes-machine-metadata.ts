import { createRoute, z } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
import type { Machine } from "../registry/model.ts";
import type { MachineRoutesOptions, MachineScope } from "./machine-scope.ts";
import { json, machineParam, newRouter, refused, type Router } from "./openapi.ts";

const base = "/apps/{app}/machines/{id}/metadata";
const MOST_KEYS = 256;

type Metadata = Record<string, string>;
const value = z.string().max(4096);
const values = z.record(z.string(), z.string());
const changes = z.looseObject({
  metadata: z.record(z.string().min(1).max(256), value.nullable()),
  machine_version: z.string().max(64).nullish(),
});

/** `/metadata` of a Machine. A change makes no new version, and the process is not touched (reference §8.3). */
export function metadataRoutes({ registry }: MachineRoutesOptions, scope: MachineScope): Router {
  const routes = newRouter();
  const keyParam = machineParam.extend({ key: z.string().min(1).max(256) });
  /** Null takes a key away. */
  const change = async (machine: Machine, values: Readonly<Record<string, string | null>>): Promise<Metadata> => {
    const merged = new Map<string, string | null>(Object.entries(machine.config.metadata));
    for (const [key, value] of Object.entries(values)) merged.set(key, value);
    const metadata = Object.fromEntries([...merged].filter((entry): entry is [string, string] => entry[1] !== null));
    if (Object.keys(metadata).length > MOST_KEYS)
      throw new AppError("invalid", `a Machine has at most ${MOST_KEYS} metadata keys`);
    await registry.commands.updateMachine(machine.id, { config: { ...machine.config, metadata } });
    return metadata;
  };

  routes.openapi(
    createRoute({
      method: "get",
      path: base,
      request: { params: machineParam },
      responses: {
        200: { description: "metadata", content: json(values) },
        default: refused,
      },
    }),
    (c) => c.json({ ...scope.find(c).config.metadata }, 200),
  );
  for (const method of ["put", "patch"] as const) {
    routes.openapi(
      createRoute({
        method,
        path: base,
        description: "null and an empty value take a key away",
        request: { params: machineParam, body: { content: json(changes), required: true } },
        responses: { 200: { description: "metadata, as they are now", content: json(values) }, default: refused },
      }),
      async (c) => {
        const machine = scope.findForChange(c);
        const { metadata, machine_version: version } = c.req.valid("json");
        if (version && version !== machine.instance)
          throw new AppError("conflict", `the version of Machine ${machine.id} is ${machine.instance} by now`);
        const wanted = Object.entries(metadata).map(([key, value]) => [key, value || null] as const);
        return c.json(await change(machine, Object.fromEntries(wanted)), 200);
      },
    );
  }
  routes.openapi(
    createRoute({
      method: "get",
      path: `${base}/{key}`,
      request: { params: keyParam },
      responses: {
        200: { description: "its value", content: json(z.object({ value: z.string() })) },
        default: refused,
      },
    }),
    (c) => {
      const { key } = c.req.valid("param");
      const { metadata } = scope.find(c).config;
      const value = Object.hasOwn(metadata, key) ? metadata[key] : undefined;
      if (value === undefined) throw new AppError("not_found", `the Machine has no metadata "${key}"`);
      return c.json({ value }, 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "post",
      path: `${base}/{key}`,
      request: {
        params: keyParam,
        body: { content: json(z.object({ value })), required: true },
      },
      responses: { 204: { description: "set" }, default: refused },
    }),
    async (c) => {
      await change(scope.findForChange(c), { [c.req.valid("param").key]: c.req.valid("json").value });
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
      await change(scope.findForChange(c), { [c.req.valid("param").key]: null });
      return c.body(null, 204);
    },
  );
  return routes;
}
