import { createRoute, z } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
import type { RegistryView } from "../registry/view.ts";
import { findApp } from "./lookup.ts";
import { appParam, json, newRouter, refused, type Router } from "./openapi.ts";

/** What the platform has under an app and this node has not, and what to do instead. */
const MISSING: Readonly<Record<string, string>> = {
  volumes:
    "this node has no volumes of their own: name a mount in a Machine's config (or [mounts] in fly.toml), and a folder is made for it",
  secretkeys: "this node holds no keys that sign or encrypt for apps",
  certificates: "certificates for .flycast names are made by the node itself, see `flycast ca`",
  network_policies: "networks of this node are kept apart as a whole; there are no policies inside one",
};

/** Parts of the platform's API that are not here: lists are empty, which is true, and all else is refused with the reason. */
export function missingRoutes(view: RegistryView): Router {
  const routes = newRouter();
  routes.openapi(
    createRoute({
      method: "get",
      path: "/apps/{app}/volumes",
      request: { params: appParam, query: z.looseObject({}) },
      responses: { 200: { description: "always empty", content: json(z.array(z.looseObject({}))) }, default: refused },
    }),
    (c) => {
      findApp(view, c.get("principal"), c.req.valid("param").app);
      return c.json([], 200);
    },
  );
  for (const [what, why] of Object.entries(MISSING)) {
    for (const path of [`/apps/:app/${what}`, `/apps/:app/${what}/*`]) {
      routes.all(path, (c) => {
        findApp(view, c.get("principal"), c.req.param("app") ?? "");
        throw new AppError("unsupported", why);
      });
    }
  }
  routes.all("/postgres/*", () => {
    throw new AppError(
      "unsupported",
      "this node manages no Postgres clusters: run one as an app, see examples/postgres",
    );
  });
  return routes;
}
