import { createRoute, z } from "@hono/zod-openapi";
import type { Region } from "../core/regions.ts";
import { json, newRouter, refused, type Router } from "./openapi.ts";

const region = z
  .looseObject({ code: z.string(), name: z.string(), latitude: z.number(), longitude: z.number() })
  .openapi("Region");

/** More Machines of one app than this are a slip of the finger; `scale` refuses them too. */
const MOST_PLACED = 1000;

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
          content: json(z.object({ Regions: z.array(region), Nearest: z.string() })),
        },
        default: refused,
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

  routes.openapi(
    createRoute({
      method: "post",
      path: "/platform/placements",
      request: {
        body: {
          content: json(
            z.looseObject({
              region: z.string().max(256).nullish(),
              count: z.number().int().min(0).max(1000).nullish(),
            }),
          ),
          required: true,
        },
      },
      responses: {
        200: {
          description: "where Machines may go",
          content: json(
            z.object({
              Regions: z.array(
                z.object({ Region: z.string(), Count: z.number().int(), Concurrency: z.number().int() }),
              ),
            }),
          ),
        },
        default: refused,
      },
    }),
    (c) => {
      const { region: asked, count } = c.req.valid("json");
      const known = new Set(regions().map((r) => r.code as string));
      const codes = (asked ?? "").split(",").flatMap((code) => {
        const wanted = code.trim();
        return known.has(wanted) || wanted === nearest ? [wanted] : [];
      });
      // `any` and aliases: this node has every region, and its own is the closest.
      const [first = nearest, ...others] = [...new Set(codes)];
      const size = count || MOST_PLACED;
      return c.json(
        {
          Regions: [first, ...others].map((code, index) => ({
            Region: code,
            Count: index === 0 || !count ? size : 0,
            Concurrency: MOST_PLACED,
          })),
        },
        200,
      );
    },
  );
  return routes;
}
