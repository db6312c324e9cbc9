import { createRoute, z } from "@hono/zod-openapi";
import { AppError } from "../core/errors.ts";
import type { RegistryView } from "../registry/view.ts";
import { findApp } from "./lookup.ts";
import { appParam, json, newRouter, refused, type Router } from "./openapi.ts";

const VOLUMES =
  "this node has no volumes of their own: name a mount in a Machine's config (or [mounts] in fly.toml), and a folder is made for it";
const MEMORY = "memory is not taken from a Machine that runs: change config.guest.memory_mb";

/** What the platform has under an app and this node has not, and what to do instead. */
const MISSING: Readonly<Record<string, string>> = {
  volumes: VOLUMES,
  secretkeys: "this node holds no keys that sign or encrypt for apps",
  certificates: "certificates for .flycast names are made by the node itself, see `flycast ca`",
  network_policies: "networks of this node are kept apart as a whole; there are no policies inside one",
  deploy_token: "tokens of this node are for a whole organisation: `flycast tokens create -o ORG`",
  "machines/:id/memory": MEMORY,
};

const anything = z.array(z.looseObject({}));
/** Lists of what there is none of: clients look at them on their way to something else. */
const EMPTY: readonly { readonly path: string; readonly shape: z.ZodType; readonly value: object }[] = [
  { path: "volumes", shape: anything, value: [] },
  { path: "secretkeys", shape: z.object({ secret_keys: anything }), value: { secret_keys: [] } },
  {
    path: "certificates",
    shape: z.object({ certificates: anything, next_cursor: z.string(), total_count: z.number().int() }),
    value: { certificates: [], next_cursor: "", total_count: 0 },
  },
];

/** Parts of the platform's API that are not here: lists are empty, which is true, and all else is refused with the reason. */
export function missingRoutes(view: RegistryView): Router {
  const routes = newRouter();
  for (const { path, shape, value } of EMPTY) {
    routes.openapi(
      createRoute({
        method: "get",
        path: `/apps/{app}/${path}`,
        request: { params: appParam, query: z.looseObject({}) },
        responses: { 200: { description: "always empty", content: json(shape) }, default: refused },
      }),
      (c) => {
        findApp(view, c.get("principal"), c.req.valid("param").app);
        return c.json(value, 200);
      },
    );
  }
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
