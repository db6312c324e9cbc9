import { createRoute, z } from "@hono/zod-openapi";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import { PERSONAL_ORG } from "../core/ids.ts";
import type { Organisation } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import { findApp, mayUse, orgSlugOf, rawSlugOf, sortedVisibleApps } from "./lookup.ts";
import { appParam, json, newRouter, queryFlag, refused, type Router } from "./openapi.ts";
import { currentRelease, nextRelease, parseReleaseId, type Release } from "./releases.ts";

const organization = z
  .object({
    id: z.string(),
    internal_numeric_id: z.number().int(),
    slug: z.string(),
    raw_slug: z.string(),
    name: z.string(),
    paid_plan: z.boolean(),
    personal: z.boolean(),
    billable: z.boolean(),
    billing_status: z.string(),
    provisions_beta_extensions: z.boolean(),
    remote_builder_image: z.string(),
  })
  .openapi("Organization");
const release = z
  .object({
    id: z.string(),
    version: z.number().int(),
    stable: z.boolean(),
    in_progress: z.boolean(),
    status: z.string(),
    /** In capitals. */
    strategy: z.string(),
    /** Who made it, as text: clients cannot read the whole release otherwise. */
    user: z.string(),
    created_at: z.iso.datetime(),
    image_ref: z.string(),
  })
  .openapi("Release");

/** `/api/v1`: what the platform's command line asks its second API (reference §10.5, UIEX). */
export function uiexRoutes(view: RegistryView, clock: Clock): Router {
  const routes = newRouter();

  routes.openapi(
    createRoute({
      method: "get",
      path: "/organizations",
      request: { query: z.looseObject({ admin: queryFlag }) },
      responses: {
        200: { description: "organizations", content: json(z.object({ organizations: z.array(organization) })) },
        default: refused,
      },
    }),
    (c) => {
      const mine = [...view.organisations()].filter((org) => mayUse(c.get("principal"), org.slug));
      return c.json({ organizations: mine.map(organizationJson) }, 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "get",
      path: "/organizations/{slug}",
      request: { params: z.object({ slug: z.string().max(63) }) },
      responses: {
        200: { description: "the organization", content: json(z.object({ organization })) },
        default: refused,
      },
    }),
    (c) => {
      const slug = orgSlugOf(c.req.valid("param").slug);
      const org = view.organisation(slug);
      if (org === undefined || !mayUse(c.get("principal"), slug))
        throw new AppError("not_found", `Could not find Organization "${slug}"`);
      return c.json({ organization: organizationJson(org) }, 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "get",
      path: "/apps/{app}/releases",
      request: { params: appParam, query: z.looseObject({}) },
      responses: {
        200: { description: "releases", content: json(z.object({ releases: z.array(release) })) },
        default: refused,
      },
    }),
    (c) => {
      const found = currentRelease(view, findApp(view, c.get("principal"), c.req.valid("param").app).name);
      return c.json({ releases: found === undefined ? [] : [releaseJson(found)] }, 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "get",
      path: "/apps/{app}/releases/current",
      request: { params: appParam },
      responses: { 200: { description: "the current release", content: json(release) }, default: refused },
    }),
    (c) => {
      const { name } = findApp(view, c.get("principal"), c.req.valid("param").app);
      const found = currentRelease(view, name);
      if (found === undefined) throw new AppError("not_found", `app "${name}" has no release yet`);
      return c.json(releaseJson(found), 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "get",
      path: "/releases/all_current",
      responses: {
        200: { description: "app → time of its release", content: json(z.record(z.string(), z.iso.datetime())) },
        default: refused,
      },
    }),
    (c) => {
      const times = sortedVisibleApps(view, c.get("principal")).flatMap(({ name }) => {
        const found = currentRelease(view, name);
        return found === undefined ? [] : [[name, found.createdAt] as const];
      });
      return c.json(Object.fromEntries(times), 200);
    },
  );
  routes.openapi(
    createRoute({
      method: "post",
      path: "/releases",
      request: {
        body: {
          content: json(z.looseObject({ app_name: z.string().max(63), image: z.string().max(1024).nullish() })),
          required: true,
        },
      },
      responses: { 201: { description: "noted", content: json(z.object({ release })) }, default: refused },
    }),
    (c) => {
      const { app_name: app, image } = c.req.valid("json");
      const { name } = findApp(view, c.get("principal"), app);
      return c.json({ release: releaseJson(nextRelease(view, name, image ?? "", clock.wall())) }, 201);
    },
  );
  routes.openapi(
    createRoute({
      method: "patch",
      path: "/releases/{id}",
      request: {
        params: z.object({ id: z.string().max(128) }),
        body: { content: json(z.looseObject({ status: z.string().max(64).nullish() })), required: true },
      },
      responses: { 200: { description: "noted", content: json(release) }, default: refused },
    }),
    (c) => {
      const { id } = c.req.valid("param");
      const { app, version } = parseReleaseId(id);
      findApp(view, c.get("principal"), app);
      const createdAt = new Date(clock.wall()).toISOString();
      const status = c.req.valid("json").status || "complete";
      return c.json({ ...releaseJson({ id, version, createdAt, imageRef: "" }), status }, 200);
    },
  );
  return routes;
}

function organizationJson(org: Organisation): z.infer<typeof organization> {
  return {
    id: org.slug,
    internal_numeric_id: org.number,
    slug: org.slug,
    raw_slug: rawSlugOf(org.slug),
    name: org.name,
    paid_plan: true,
    personal: org.slug === PERSONAL_ORG,
    billable: true,
    billing_status: "CURRENT",
    provisions_beta_extensions: false,
    remote_builder_image: "",
  };
}

function releaseJson({ id, version, createdAt, imageRef }: Release): z.infer<typeof release> {
  return {
    id,
    version,
    stable: true,
    in_progress: false,
    status: "complete",
    strategy: "ROLLING",
    user: "",
    created_at: createdAt,
    image_ref: imageRef,
  };
}
