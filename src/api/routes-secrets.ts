import { createRoute, z } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
import type { RegistryView } from "../registry/view.ts";
import { findApp } from "./lookup.ts";
import { appParam, json, newRouter, refused, type Router } from "./openapi.ts";
import type { SecretInfo, Secrets } from "./secrets.ts";

const secret = z
  .object({ name: z.string(), digest: z.string(), created_at: z.iso.datetime(), updated_at: z.iso.datetime() })
  .openapi("Secret");
const listed = z.object({ secrets: z.array(secret), version: z.number().int() });
const value = z.string().max(65_536);
const nameParam = appParam.extend({ name: z.string().min(1).max(128) });

/**
 * `/v1/apps/{app}/secrets` (reference §10.3). Values go in and never come out again: `show_secrets` is heard and not
 * obeyed. Machines get a change at their next start.
 */
export function secretRoutes(view: RegistryView, secrets: Secrets): Router {
  const routes = newRouter();
  const list = async (app: Parameters<Secrets["list"]>[0]) => {
    const { version, secrets: all } = await secrets.list(app);
    return { version, secrets: [...all] };
  };
  const one = async (app: Parameters<Secrets["list"]>[0], name: string): Promise<SecretInfo> => {
    const found = (await secrets.list(app)).secrets.find((info) => info.name === name);
    if (found === undefined) throw new AppError("not_found", `app "${app}" has no secret "${name}"`);
    return found;
  };

  routes.openapi(
    createRoute({
      method: "get",
      path: "/apps/{app}/secrets",
      request: { params: appParam, query: z.looseObject({}) },
      responses: { 200: { description: "names and digests", content: json(listed) }, default: refused },
    }),
    async (c) => c.json(await list(findApp(view, c.get("principal"), c.req.valid("param").app).name), 200),
  );
  routes.openapi(
    createRoute({
      method: "post",
      path: "/apps/{app}/secrets",
      request: {
        params: appParam,
        body: { content: json(z.object({ values: z.record(z.string().max(128), value.nullable()) })), required: true },
      },
      responses: { 200: { description: "set, and taken away where null", content: json(listed) }, default: refused },
    }),
    async (c) => {
      const { name } = findApp(view, c.get("principal"), c.req.valid("param").app);
      await secrets.change(name, c.req.valid("json").values);
      return c.json(await list(name), 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "get",
      path: "/apps/{app}/secrets/{name}",
      request: { params: nameParam, query: z.looseObject({}) },
      responses: { 200: { description: "its name and digest", content: json(secret) }, default: refused },
    }),
    async (c) => {
      const { app, name } = c.req.valid("param");
      return c.json(await one(findApp(view, c.get("principal"), app).name, name), 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "post",
      path: "/apps/{app}/secrets/{name}",
      request: { params: nameParam, body: { content: json(z.object({ value })), required: true } },
      responses: { 200: { description: "set", content: json(secret) }, default: refused },
    }),
    async (c) => {
      const { app, name } = c.req.valid("param");
      const owner = findApp(view, c.get("principal"), app).name;
      await secrets.change(owner, { [name]: c.req.valid("json").value });
      return c.json(await one(owner, name), 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "delete",
      path: "/apps/{app}/secrets/{name}",
      request: { params: nameParam },
      responses: { 200: { description: "taken away", content: json(listed) }, default: refused },
    }),
    async (c) => {
      const { app, name } = c.req.valid("param");
      const owner = findApp(view, c.get("principal"), app).name;
      await one(owner, name);
      await secrets.change(owner, { [name]: null });
      return c.json(await list(owner), 200);
    },
  );
  return routes;
}
