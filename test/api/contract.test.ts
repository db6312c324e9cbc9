import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFIG, TestApi, type Answer, type Json } from "./harness.ts";
import { Schemas } from "./json-schema.ts";

/** Bodies of calls that cannot be made without one. `METHOD path` → body. */
const BODIES: Readonly<Record<string, () => unknown>> = {
  "post /v1/apps": () => ({ name: `app-${++made}`, org_slug: "personal", network: "", app_role_id: "" }),
  "post /v1/apps/{app}/ip_assignments": () => ({
    type: "private_v6",
    region: "",
    org_slug: "",
    network: "",
    service_name: "",
  }),
  "post /v1/apps/{app}/machines": () => ({ config: CONFIG, region: "iad", skip_secrets: false }),
  "post /v1/apps/{app}/machines/{id}": () => ({ config: CONFIG }),
  "post /v1/apps/{app}/machines/{id}/signal": () => ({ signal: 10 }),
  "post /v1/apps/{app}/machines/{id}/exec": () => ({ cmd: "true" }),
  "post /v1/apps/{app}/machines/{id}/metadata/{key}": () => ({ value: "v" }),
  "post /v1/apps/{app}/secrets": () => ({ values: { ONE: "1", TWO: null } }),
  "post /v1/apps/{app}/secrets/{name}": () => ({ value: "1" }),
  "post /v1/platform/placements": () => ({ compute: null, region: "iad,any", count: 2, org_slug: "personal" }),
  "post /api/v1/builds": () => ({ app_name: "contract", builder_type: "local", strategies_available: ["x"] }),
  "post /api/v1/builds/finish": () => ({ app_name: "contract", build_id: 1, status: "completed", logs: "" }),
  "put /v1/apps/{app}/machines/{id}/metadata": () => ({ metadata: { role: "a", gone: null } }),
  "patch /v1/apps/{app}/machines/{id}/metadata": () => ({ metadata: { role: "" } }),
  "post /api/v1/releases": () => ({ app_name: "contract", image: "x", strategy: "rolling" }),
  "post /flycast/v1/apps/{app}/scale": () => ({ count: 1 }),
  "post /flycast/v1/deploy": () => ({ path: "/srv/app" }),
  "post /flycast/v1/orgs": () => ({ slug: `org-${++made}`, name: "An organisation" }),
  "post /flycast/v1/orgs/{slug}": () => ({ name: "Personal" }),
  "post /flycast/v1/tokens": () => ({ org: "personal", name: "ci" }),
  "post /flycast/v1/peers": () => ({ name: `peer-${++made}`, public_key: randomBytes(32).toString("base64") }),
  "post /flycast/v1/dns": () => ({}),
  "post /flycast/v1/clients": () => ({ org: "personal", network: "default" }),
  "patch /api/v1/releases/{id}": () => ({ status: "complete" }),
};
/** Calls that need something to be so before. */
const QUERIES: Readonly<Record<string, string>> = {
  "get /v1/apps/{app}/machines/{id}/wait": "?state=started&timeout=5",
  "delete /v1/apps/{app}/machines/{id}": "?kill=true",
};
/** How many times more inputs than usual: FLYCAST_FUZZ=20 is for an evening. */
const THOROUGH = Number(process.env["FLYCAST_FUZZ"] ?? 1);
let made = 0;
let requests = 0;

interface Operation {
  readonly method: string;
  readonly path: string;
  readonly described: Json;
}

let api: TestApi;
let schemas: Schemas;
let operations: readonly Operation[];

beforeAll(async () => {
  api = await TestApi.start();
  const document = (await api.call("/openapi.json", { token: null })).json;
  schemas = new Schemas(document);
  operations = Object.entries<Json>(document.paths).flatMap(([path, methods]) =>
    Object.entries<Json>(methods).map(([method, described]) => ({ path, method, described })),
  );
});
afterAll(() => api.close());

/** A path with its parameters filled in by things that are there. */
async function filled(operation: Operation, app: string): Promise<string> {
  let { path } = operation;
  if (path.includes("{id}") && path.includes("machines")) {
    const machine = (await api.call(`/v1/apps/${app}/machines`, { body: { config: CONFIG } })).json;
    await api.call(`/v1/apps/${app}/machines/${machine.id}/wait?timeout=5`);
    if (path.endsWith("/lease") && operation.method !== "post")
      await api.call(`/v1/apps/${app}/machines/${machine.id}/lease`, { method: "POST" });
    path = path.replace("{id}", machine.id);
  }
  if (path === "/flycast/v1/tokens/{id}") {
    path = path.replace("{id}", (await api.call("/flycast/v1/tokens", { body: {} })).json.id);
  }
  if (path === "/flycast/v1/peers/{name}") {
    const body = { name: `peer-${++made}`, public_key: randomBytes(32).toString("base64") };
    path = path.replace("{name}", (await api.call("/flycast/v1/peers", { body })).json.name);
  }
  if (path.includes("{ip}")) {
    const body = { type: "private_v6" };
    const { ip } = (await api.call(`/v1/apps/${app}/ip_assignments`, { body })).json;
    path = path.replace("{ip}", encodeURIComponent(ip));
  }
  return path
    .replace("{app}", app)
    .replace("{id}", `${app}.1`)
    .replace("{key}", "fly_process_group")
    .replace("{org}", "personal")
    .replace("{name}", "ONE")
    .replace("{slug}", "personal");
}

function fits(operation: Operation, answer: Answer): string[] {
  const { responses } = operation.described;
  const described = responses[String(answer.status)] ?? responses.default;
  if (described === undefined) return [`answered ${answer.status}, which is not described`];
  const [type, content] = Object.entries<Json>(described.content ?? {})[0] ?? [];
  if (type === "text/plain") return typeof answer.headers["content-type"] === "string" ? [] : ["has no content type"];
  const schema = content?.schema;
  if (schema === undefined) return answer.text === "" ? [] : [`has a body that is not described: ${answer.text}`];
  return schemas.problems(schema, answer.json);
}

describe("the API is as /openapi.json describes it", () => {
  test("every operation succeeds when asked properly, and its answer has the described shape", async () => {
    const app = "contract";
    await api.call("/v1/apps", { body: { name: app, org_slug: "personal" } });
    await api.call(`/v1/apps/${app}/secrets/ONE`, { body: { value: "1" } });
    // Whatever takes the app away comes last.
    const ordered = operations.toSorted(
      (a, b) => Number(a.method === "delete") - Number(b.method === "delete") || b.path.length - a.path.length,
    );
    expect(ordered.length).toBeGreaterThan(65);
    for (const operation of ordered) {
      const name = `${operation.method} ${operation.path}`;
      const path = `${await filled(operation, app)}${QUERIES[name] ?? ""}`;
      const body = BODIES[name]?.();
      const held =
        path.endsWith("/lease") && operation.method === "delete" ? (await api.call(path)).json.data.nonce : undefined;
      const answer = await api.call(path, {
        method: operation.method.toUpperCase(),
        ...(body === undefined ? {} : { body }),
        ...(held === undefined ? {} : { headers: { "fly-machine-lease-nonce": held } }),
      });
      expect.soft(answer.status, `${name}: ${answer.text}`).toBeLessThan(300);
      expect.soft(fits(operation, answer), name).toEqual([]);
    }
  });

  test("every route of our own is in it", () => {
    const described = operations.map(({ method, path }) => `${method} ${path}`);
    const inSource = ["routes-flycast.ts", "routes-wireguard.ts"].flatMap((file) => {
      const source = readFileSync(new URL(`../../src/api/${file}`, import.meta.url), "utf8");
      return [...source.matchAll(/routes\.(get|post|put|patch|delete)\("([^"]+)"/g)].map(
        ([, method, path]) => `${method} /flycast/v1${path?.replaceAll(/:(\w+)/g, "{$1}")}`,
      );
    });
    expect(inSource.length).toBeGreaterThan(15);
    for (const route of inSource) expect.soft(described).toContain(route);
  });

  test("every operation refuses a caller without a token, and its refusal has the described shape", async () => {
    for (const operation of operations) {
      const path = operation.path.replaceAll(/\{\w+\}/g, "x");
      const answer = await api.call(path, { method: operation.method.toUpperCase(), token: null });
      expect.soft(answer.status, operation.path).toBe(401);
      expect.soft(fits(operation, answer), operation.path).toEqual([]);
    }
  });

  test(
    "no input brings about a 5xx or leaves a caller without an answer",
    async () => {
      await api.call("/v1/apps", { body: { name: "fuzz", org_slug: "personal" } });
      const machine = (await api.call("/v1/apps/fuzz/machines", { body: { config: CONFIG, skip_launch: true } })).json;
      const bad = fc.oneof(
        fc.string({ maxLength: 20 }),
        fc.constantFrom("%00", "..%2f..", "%ff", "fdaa::1", "0".repeat(14), "a".repeat(3000), "web"),
      );
      // Whatever takes things away comes last.
      for (const operation of operations.toSorted(
        (a, b) => Number(a.method === "delete") - Number(b.method === "delete"),
      )) {
        const schema = operation.described.requestBody?.content?.["application/json"]?.schema;
        const body: fc.Arbitrary<string | undefined> =
          schema === undefined && operation.method === "get"
            ? fc.constant(undefined)
            : fc.oneof(
                { weight: 8, arbitrary: schemas.arbitrary(schema ?? {}).map((value) => JSON.stringify(value)) },
                { weight: 1, arbitrary: fc.constantFrom("", "{", "null", "[]", '"x"', "\u0000", '{"a":1e999}') },
              );
        const query = fc.oneof(
          { weight: 3, arbitrary: fc.constant("") },
          {
            weight: 1,
            arbitrary: fc
              .tuple(
                fc.constantFrom("state", "timeout", "ttl", "kill", "force_stop", "signal", "region", "summary"),
                bad,
              )
              .map(([key, value]) => `?${key}=${encodeURIComponent(value)}`),
          },
        );
        const place = fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: bad });
        await fc.assert(
          fc.asyncProperty(body, query, place, async (raw, search, strange) => {
            requests++;
            const segment = strange === undefined ? undefined : encodeURIComponent(strange).replaceAll("%25", "%");
            const path = operation.path
              .replace("{app}", segment ?? "fuzz")
              .replace("{id}", segment ?? machine.id)
              .replaceAll(/\{\w+\}/g, segment ?? "ONE");
            // A wait that is well asked for takes the time it was asked to.
            const wait = path.endsWith("/wait") ? `?timeout=1&state=created${search.replace("?", "&")}` : search;
            const ask = {
              method: operation.method.toUpperCase(),
              ...(raw === undefined ? {} : { raw }),
              signal: AbortSignal.timeout(20_000),
            };
            const answer = await api.call(`${path}${wait}`, ask);
            if (answer.status >= 500)
              throw new Error(`${operation.method} ${path}${wait} ${raw} → ${answer.status} ${answer.text}`);
            // Node itself refuses what is not even HTTP, without a body.
            const problems = answer.text === "" || answer.status === 413 ? [] : fits(operation, answer);
            if (problems.length > 0) throw new Error(`${operation.method} ${path}: ${problems.join("; ")}`);
          }),
          { numRuns: (schema === undefined ? 10 : 50) * THOROUGH },
        );
      }
      if (THOROUGH > 1) process.stdout.write(`${requests} requests\n`);
      expect(api.logged.filter((line) => line.startsWith("the API failed"))).toEqual([]);
    },
    60_000 * THOROUGH,
  );
});
