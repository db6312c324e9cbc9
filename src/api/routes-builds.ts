import { createRoute, z } from "@hono/zod-openapi";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import type { RegistryView } from "../registry/view.ts";
import { findApp } from "./lookup.ts";
import { json, newRouter, refused, type Router } from "./openapi.ts";

const build = z
  .object({ id: z.number().int(), status: z.string(), wallclock_time_ms: z.number().int() })
  .openapi("Build");
const appName = z.string().max(63);

/**
 * `/api/v1/builds`: what the platform's command line notes of an image before it deploys it. Nothing is kept: an image is a
 * name here. What would build one is refused.
 */
export function buildRoutes(view: RegistryView, clock: Clock): Router {
  const routes = newRouter();
  routes.openapi(
    createRoute({
      method: "post",
      path: "/builds",
      request: { body: { content: json(z.looseObject({ app_name: appName })), required: true } },
      responses: { 200: { description: "noted", content: json(build) }, default: refused },
    }),
    (c) => {
      findApp(view, c.get("principal"), c.req.valid("json").app_name);
      return c.json({ id: Math.trunc(clock.wall()), status: "started", wallclock_time_ms: 0 }, 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "post",
      path: "/builds/finish",
      request: {
        body: {
          content: json(
            z.looseObject({ app_name: appName, build_id: z.number().int(), status: z.string().max(64).nullish() }),
          ),
          required: true,
        },
      },
      responses: { 200: { description: "noted", content: json(build) }, default: refused },
    }),
    (c) => {
      const { app_name: app, build_id: id, status } = c.req.valid("json");
      findApp(view, c.get("principal"), app);
      return c.json({ id, status: status || "completed", wallclock_time_ms: 0 }, 200);
    },
  );
  for (const path of ["/builds/depot_builder", "/organizations/:slug/builders", "/apps/:app/deploy"]) {
    routes.post(path, () => {
      throw new AppError(
        "unsupported",
        "this node runs commands and builds no images: deploy with --image, or with `flycast deploy FOLDER`",
      );
    });
  }
  routes.post("/apps/:app/egress_ips/:ip/promote", () => {
    throw new AppError("unsupported", "this node has private addresses only");
  });
  return routes;
}
