import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFIG, TestApi } from "./harness.ts";

let api: TestApi;
let machine: string;
beforeAll(async () => {
  api = await TestApi.start();
  await api.call("/v1/apps", { body: { name: "web", org_slug: "personal" } });
  machine = (await api.call("/v1/apps/web/machines", { body: { config: CONFIG } })).json.id;
  await api.call(`/v1/apps/web/machines/${machine}/wait?timeout=5`);
});
afterAll(() => api.close());

describe("routes of our own", () => {
  test("status tells of the node, its apps, their addresses and Machines", async () => {
    await api.call("/v1/apps/web/ip_assignments", { body: { type: "private_v6" } });
    const { json } = await api.call("/flycast/v1/status");
    expect(json).toMatchObject({ mode: "loopback", region: "iad" });
    expect(json.apps).toMatchObject([
      {
        name: "web",
        org: "personal",
        services: [{ app: "web", port: 80, handlers: ["http"] }],
        machines: [{ id: machine, state: "started", inUse: 0 }],
      },
    ]);
    expect((await api.call("/flycast/v1/apps/web/status")).json).toEqual(json.apps[0]);
    expect((await api.call("/flycast/v1/apps/none/status")).status).toBe(404);
  });

  test("why and receipt speak of one Machine", async () => {
    expect((await api.call(`/flycast/v1/machines/${machine}/why`)).json).toMatchObject({ machine, state: "started" });
    expect((await api.call(`/flycast/v1/machines/${machine}/receipt`)).status).toBe(200);
    expect((await api.call("/flycast/v1/machines/00000000000000/why")).status).toBe(404);
  });

  test("scale makes Machines like the newest and takes the youngest away", async () => {
    const up = (await api.call("/flycast/v1/apps/web/scale", { body: { count: 3 } })).json;
    expect(up).toMatchObject({ created: [expect.any(String), expect.any(String)], destroyed: [] });
    const down = (await api.call("/flycast/v1/apps/web/scale", { body: { count: 1 } })).json;
    expect(new Set(down.destroyed)).toEqual(new Set(up.created));
    for (const count of [-1, 1.5, "x", 1e9, null])
      expect((await api.call("/flycast/v1/apps/web/scale", { body: { count } })).status, String(count)).toBe(400);
  });

  test("organisations are made with a user that there is, and can be given another", async () => {
    expect((await api.call("/flycast/v1/orgs", { body: { slug: "acme", user: "root" } })).json).toMatchObject({
      user: "root",
    });
    expect((await api.call("/flycast/v1/orgs", { body: { slug: "bad", user: "no-such-user" } })).status).toBe(400);
    expect((await api.call("/flycast/v1/orgs/acme", { body: { user: "" } })).json).toMatchObject({ user: null });
    expect((await api.call("/flycast/v1/orgs/acme", { body: { name: "Acme Ltd" } })).json).toMatchObject({
      name: "Acme Ltd",
    });
    expect((await api.call("/flycast/v1/orgs/none", { body: { name: "x" } })).status).toBe(404);
  });

  test("deploy takes an absolute path from whoever has the node's own token", async () => {
    expect((await api.call("/flycast/v1/deploy", { body: { path: "/srv/app" } })).json).toEqual({ changed: [] });
    expect((await api.call("/flycast/v1/deploy", { body: { path: "app" } })).status).toBe(400);
  });

  test("no input brings about a 5xx", async () => {
    const paths = ["apps/web/scale", "orgs", "orgs/acme", "tokens", "dns", "clients", "peers", "deploy"];
    const field = fc.constantFrom(
      "slug",
      "name",
      "user",
      "org",
      "network",
      "count",
      "region",
      "group",
      "path",
      "public_key",
    );
    const value = fc.oneof(
      fc.string({ maxLength: 20 }),
      fc.constantFrom(
        "personal",
        "default",
        "\0",
        "../x",
        "/nowhere",
        "x".repeat(5000),
        null,
        true,
        0,
        -1,
        1e308,
        [],
        {},
      ),
    );
    const body = fc.oneof(
      { weight: 5, arbitrary: fc.dictionary(field, value, { maxKeys: 4 }).map((fields) => JSON.stringify(fields)) },
      { weight: 1, arbitrary: fc.constantFrom("", "{", "[]", "null", '"x"', "1") },
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), body, async (path, raw) => {
        const { status, text } = await api.call(`/flycast/v1/${path}`, { raw, method: "POST" });
        if (status >= 500) throw new Error(`${path} ${raw} → ${status} ${text}`);
      }),
      { numRuns: 300 },
    );
    const query = fc.tuple(fc.constantFrom("app", "machine", "lines", "follow", "org"), fc.string({ maxLength: 30 }));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom("logs", "peers", "status"), query, async (path, [name, text]) => {
        const answer = await api.call(`/flycast/v1/${path}?${name}=${encodeURIComponent(text)}`);
        if (answer.status >= 500) throw new Error(`${path} ${name}=${text} → ${answer.status} ${answer.text}`);
      }),
      { numRuns: 60 },
    );
    expect(api.logged.filter((line) => line.startsWith("the API failed"))).toEqual([]);
  });
});
