import { createRoute, z } from "@hono/zod-openapi";
import type { Region } from "../core/regions.ts";
import { newRouter, type Router } from "./openapi.ts";

const region = z
  .looseObject({ code: z.string(), name: z.string(), latitude: z.number(), longitude: z.number() })
  .openapi("Region");

/** `/v1/platform/*` (reference §10.3). `Regions` and `Nearest` have capital letters there. */
export function platformRoutes(regions: () => readonly Region[], nearest: string): Router {
  const routes = newRouter();
  routes.openapi(
    createRoute({
      method: "get",
      path: "/platform/regions",
      responses: {
        200: {
          description: "regions",
          content: { "application/json": { schema: z.object({ Regions: z.array(region), Nearest: z.string() }) } },
        },
      },
    }),
    (c) =>
      c.json(
        {
          Regions: regions().map((r) => ({
            code: r.code,
            name: r.name,
            latitude: r.lat,
            longitude: r.lon,
            gateway_available: r.gateway ?? false,
            requires_paid_plan: false,
            deprecated: r.deprecated,
            capacity: 1000,
            geo_region: r.geoRegion,
            mpg_available: false,
          })),
          Nearest: nearest,
        },
        200,
      ),
  );
  return routes;
}
