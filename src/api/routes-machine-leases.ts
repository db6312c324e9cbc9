import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { AppError } from "../core/errors.ts";
import type { Machine } from "../registry/model.ts";
import { bodyOf, NONCE, type MachineRoutesOptions, type MachineScope } from "./machine-scope.ts";
import { json, machineParam, newRouter, refused, type Router } from "./openapi.ts";
import { leaseSchema, type LeaseJson } from "./platform-schemas.ts";
import type { ApiEnv } from "./server.ts";

const DEFAULT_TTL = 120;
const LONGEST_TTL = 24 * 3600;

/** `/lease` of a Machine: to look at it, take or prolong it, and give it back (reference §10.3). */
export function leaseRoutes({ leases }: MachineRoutesOptions, scope: MachineScope): Router {
  const routes = newRouter();
  const route = (
    method: "get" | "post" | "delete",
    run: (c: Context<ApiEnv>, machine: Machine) => LeaseJson | Promise<LeaseJson>,
  ): void => {
    routes.openapi(
      createRoute({
        method,
        path: "/apps/{app}/machines/{id}/lease",
        ...(method === "post" ? { description: "?ttl or {ttl?, description?}, in seconds" } : {}),
        // The body is optional and read by hand: clients send the header of one also where there is none.
        request: { params: machineParam },
        responses: { 200: { description: "the lease", content: json(leaseSchema) }, default: refused },
      }),
      async (c) => c.json(await run(c, scope.find(c)), 200),
    );
  };
  const show = (machine: Machine): LeaseJson => {
    const held = leases.current(machine.id);
    if (held === undefined) throw new AppError("not_found", "lease not found");
    const { nonce, owner, description, expiresAt } = held;
    return {
      status: "success",
      data: { nonce, expires_at: Math.floor(expiresAt / 1000), owner, description, version: machine.instance },
    };
  };

  route("get", (_c, machine) => show(machine));
  route("post", async (c, machine) => {
    const { ttl, description } = await bodyOf(c);
    const text = typeof description === "string" ? description.slice(0, 256) : "";
    leases.acquire(machine.id, seconds(c.req.query("ttl") ?? ttl), "api", c.req.header(NONCE), text);
    return show(machine);
  });
  route("delete", (c, machine) => {
    leases.release(machine.id, c.req.header(NONCE));
    return {
      status: "success",
      data: { nonce: "", expires_at: 0, owner: "", description: "", version: machine.instance },
    };
  });
  return routes;
}

/** @errors invalid */
function seconds(ttl: unknown): number {
  if (ttl == null || ttl === "") return DEFAULT_TTL;
  const asked = typeof ttl === "string" || typeof ttl === "number" ? Number(ttl) : Number.NaN;
  if (!(asked > 0)) throw new AppError("invalid", "ttl: must be a number of seconds above 0");
  return Math.min(LONGEST_TTL, asked);
}
