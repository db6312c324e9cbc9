import { connect } from "node:net";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { NetworkName, OrgSlug } from "../../src/core/ids.ts";
import { ms } from "../../src/core/units.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { CONFIG, TestApi, type Answer } from "./harness.ts";

let api: TestApi;
let acme: string;
beforeAll(async () => {
  api = await TestApi.start();
  for (const slug of ["acme", "other"]) await api.call("/flycast/v1/orgs", { body: { slug } });
  await api.call("/v1/apps", { body: { name: "ours", org_slug: "acme" } });
  await api.call("/v1/apps", { body: { name: "theirs", org_slug: "other" } });
  acme = (await api.call("/flycast/v1/tokens", { body: { org: "acme", name: "ci" } })).json.token;
});
afterAll(() => api.close());

const network = (org: string) => api.registry.view.networkNamed(org as OrgSlug, "default" as NetworkName)?.id;

describe("without a token", () => {
  test.each([
    ["/", 404],
    ["/healthz", 200],
    ["/readyz", 200],
    ["/openapi.json", 200],
    ["/metrics", 200],
    ["/v1/apps", 401],
    ["/flycast/v1/status", 401],
    ["/api/v1/organizations", 401],
    ["/nothing", 401],
  ])("GET %s answers %i", async (path, status) => {
    expect((await api.call(path, { token: null })).status).toBe(status);
  });

  test("from inside a network the metrics are not told", async () => {
    api.insideNetwork = network("acme");
    expect((await api.call("/metrics", { token: null, inside: true })).status).toBe(401);
    expect((await api.call("/", { token: null, inside: true })).status).toBe(404);
  });

  test("a refusal has the platform's body, ours beside it, and an id for the log", async () => {
    const { headers, json } = await api.call("/v1/apps", { token: "wrong" });
    expect(json).toMatchObject({ status: "unknown", code: "unauthorized", next: "flycast tokens create" });
    expect(headers["fly-request-id"]).toMatch(/^[0-9a-f]{16}$/);
  });
});

describe("tokens", () => {
  test("in every form that the platform's client sends", async () => {
    for (const authorization of [`Bearer ${acme}`, `FlyV1 ${acme}`, `FlyV1 fm2_unknown,${acme}`, `bearer ${acme}`]) {
      const answer = await api.call("/v1/apps", { token: null, headers: { authorization } });
      expect(answer.status, authorization.split(" ")[0]).toBe(200);
    }
  });

  test("of an organisation see and touch its own things alone; a foreign app is 403, a free name 404", async () => {
    const as = (path: string, body?: object): Promise<Answer> =>
      api.call(path, { token: acme, ...(body === undefined ? {} : { body }) });
    expect((await as("/v1/apps")).json).toMatchObject({ total_apps: 1, apps: [{ name: "ours" }] });
    expect((await as("/v1/apps/theirs")).status).toBe(403);
    expect((await as("/v1/apps/theirs/machines")).status).toBe(403);
    expect((await as("/v1/apps/theirs/machines", { config: CONFIG })).status).toBe(403);
    expect((await as("/v1/apps/nobodys")).status).toBe(404);
    expect((await as("/v1/apps", { name: "x", org_slug: "other" })).status).toBe(403);
    expect((await as("/v1/apps/ours/ip_assignments", { type: "private_v6", org_slug: "other" })).status).toBe(403);
    expect((await as("/flycast/v1/tokens", { org: "acme" })).status).toBe(403);
    expect((await as("/flycast/v1/orgs", { slug: "more" })).status).toBe(403);
    expect((await as("/flycast/v1/deploy", { path: "/" })).status).toBe(403);
    expect((await as("/flycast/v1/orgs")).json.organizations).toHaveLength(1);
    expect((await as("/flycast/v1/status")).json.apps).toHaveLength(1);
    expect((await as("/flycast/v1/logs?app=theirs")).status).toBe(403);
    expect((await as("/api/v1/organizations")).json.organizations).toMatchObject([{ slug: "acme", personal: false }]);
    expect((await as("/api/v1/organizations/other")).status).toBe(404);
  });

  test("a Machine of another app is not found under this one's", async () => {
    const machine = (await api.call("/v1/apps/theirs/machines", { body: { config: CONFIG, skip_launch: true } })).json;
    expect((await api.call(`/v1/apps/ours/machines/${machine.id}`)).status).toBe(404);
    expect((await api.call(`/flycast/v1/machines/${machine.id}/why`, { token: acme })).status).toBe(404);
  });

  test("are listed without themselves, and worth nothing once revoked", async () => {
    const made = (await api.call("/flycast/v1/tokens", { body: { org: "acme", name: "short" } })).json;
    const { tokens } = (await api.call("/flycast/v1/tokens")).json;
    expect(tokens.find((one: { id: string }) => one.id === made.id)).not.toHaveProperty("token");
    expect((await api.call("/v1/apps", { token: made.token })).status).toBe(200);
    expect((await api.call(`/flycast/v1/tokens/${made.id}`, { method: "DELETE" })).status).toBe(204);
    expect((await api.call("/v1/apps", { token: made.token })).status).toBe(401);
  });

  test("are nowhere on the disk but the node's own in its file", async () => {
    for (const path of files(api.folder)) {
      if (!path.endsWith("/token")) expect(readFileSync(path, "latin1").includes(acme), path).toBe(false);
    }
  });
});

describe("from inside a network", () => {
  test("a token of another organisation is refused, and the node's own sees the caller's organisation alone", async () => {
    api.insideNetwork = network("other");
    expect((await api.call("/v1/apps", { token: acme, inside: true })).status).toBe(403);
    expect((await api.call("/v1/apps", { inside: true })).json).toMatchObject({
      total_apps: 1,
      apps: [{ name: "theirs" }],
    });
    expect((await api.call("/v1/apps/ours", { inside: true })).status).toBe(403);
    expect((await api.call("/flycast/v1/orgs", { inside: true, body: { slug: "more" } })).status).toBe(403);
    api.insideNetwork = network("acme");
    expect((await api.call("/v1/apps", { token: acme, inside: true })).json.total_apps).toBe(1);
  });

  test("a caller whose network nobody knows gets nothing", async () => {
    api.insideNetwork = undefined;
    expect((await api.call("/v1/apps", { inside: true })).status).toBe(403);
  });

  test.each(["_api.internal:4280", "_api.internal", "[fdaa::3]:4280", "flaps"])("the Host may be %s", async (host) => {
    api.insideNetwork = network("acme");
    expect((await api.call("/v1/apps", { inside: true, headers: { host } })).status).toBe(200);
  });
});

describe("web pages", () => {
  test.each(["evil.example", "evil.example:4280", "127.0.0.1.evil.example"])(
    "a Host that names somebody else (%j) is refused, with a token too",
    async (host) => {
      expect([400, 403]).toContain((await api.call("/v1/apps", { headers: { host } })).status);
      expect([400, 403]).toContain((await api.call("/healthz", { token: null, headers: { host } })).status);
    },
  );

  test.each(["localhost:9", "127.0.0.1", "[::1]:4280"])("the Host may be %s", async (host) => {
    expect((await api.call("/v1/apps", { headers: { host } })).status).toBe(200);
  });

  test("an Origin must be our own", async () => {
    const host = `127.0.0.1:${api.port()}`;
    expect((await api.call("/v1/apps", { headers: { origin: "https://evil.example" } })).status).toBe(403);
    expect((await api.call("/v1/apps", { headers: { origin: "null" } })).status).toBe(403);
    expect((await api.call("/v1/apps", { headers: { host, origin: `http://${host}` } })).status).toBe(200);
  });
});

describe("limits", () => {
  test("a body of more than a megabyte is refused, announced or not", async () => {
    const raw = JSON.stringify({ name: "x".repeat(1024 * 1024) });
    expect((await api.call("/v1/apps", { raw })).status).toBe(413);
    const chunked = { "transfer-encoding": "chunked" };
    expect((await api.call("/v1/apps", { raw, headers: chunked })).status).toBe(413);
  });

  test("a caller inside that asks too often is told to wait, and others are not", async () => {
    // Time stands still, so that what was used up does not come back.
    const busy = await TestApi.start({ clock: new FakeClock() });
    try {
      busy.insideNetwork = busy.registry.view.networkNamed("personal" as OrgSlug, "default" as NetworkName)?.id;
      for (let round = 0; round < 10; round++)
        await Promise.all(Array.from({ length: 20 }, () => busy.call("/healthz", { inside: true, token: null })));
      const refused = await busy.call("/v1/apps", { inside: true });
      expect(refused).toMatchObject({
        status: 429,
        headers: { "retry-after": "1" },
        json: { code: "too_many_requests" },
      });
      expect((await busy.call("/v1/apps")).status).toBe(200);
    } finally {
      await busy.close();
    }
  });

  test("one caller inside cannot hold every connection", async () => {
    const sockets = Array.from({ length: 80 }, () => connect(api.port(true), "127.0.0.1"));
    const closed = sockets.map(
      (socket) =>
        new Promise<boolean>((resolve) => socket.on("error", () => undefined).on("close", () => resolve(true))),
    );
    try {
      // Sixteen are over the limit of 64: the node closes them unasked.
      await new Promise<void>((resolve) => {
        let count = 0;
        for (const one of closed) void one.then(() => ++count === 16 && resolve());
      });
      expect((await api.call("/healthz", { token: null })).status).toBe(200);
    } finally {
      for (const socket of sockets) socket.destroy();
      await Promise.all(closed);
    }
  });

  test("a caller that sends its head or its body too slowly is cut off", async () => {
    const hasty = await TestApi.start({ headTimeout: ms(200) });
    try {
      const answers = [
        "GET / HTTP/1.1\r\nHost: localhost\r\n",
        "POST /v1/apps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
      ];
      for (const sent of answers) {
        const socket = connect(hasty.port(), "127.0.0.1");
        const text = await new Promise<string>((resolve) => {
          let all = "";
          socket.on("data", (chunk) => (all += chunk.toString())).on("close", () => resolve(all));
          socket.write(sent);
        });
        expect(text).toMatch(/^HTTP\/1\.1 (?:408|401) /);
      }
    } finally {
      await hasty.close();
    }
  });

  test("what is not HTTP gets a 400 and the end of its connection", async () => {
    const socket = connect(api.port(), "127.0.0.1");
    const text = await new Promise<string>((resolve) => {
      let all = "";
      socket.on("data", (chunk) => (all += chunk.toString())).on("close", () => resolve(all));
      socket.write("\x16\x03\x01 hello\r\n\r\n");
    });
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
  });

  test("a head of more than 32 KiB gets a 431", async () => {
    expect((await api.call("/healthz", { headers: { "x-long": "a".repeat(20_000) } })).status).toBe(200);
    expect((await api.call("/healthz", { headers: { "x-long": "a".repeat(40_000) } })).status).toBe(431);
  });
});

test("a body is read as JSON, whatever its header calls it", async () => {
  for (const type of [
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/json; charset=utf-8",
    "application/json",
  ]) {
    const name = `typed-${type.replaceAll(/[^a-z]/g, "").slice(-8)}`;
    const ask = { raw: JSON.stringify({ name, org_slug: "acme" }), headers: { "content-type": type } };
    expect((await api.call("/v1/apps", ask)).status, type).toBe(201);
  }
  const form = { raw: "name=web", headers: { "content-type": "application/x-www-form-urlencoded" } };
  expect(await api.call("/v1/apps", form)).toMatchObject({ status: 400, json: { code: "invalid" } });
});

describe("secrets", () => {
  const secrets = (path = "", ask?: object): Promise<Answer> => api.call(`/v1/apps/ours/secrets${path}`, ask);

  test("are set and taken away; names and digests are told, values never", async () => {
    const set = await secrets("", {
      body: { values: { PASSWORD: "hunter2-very-secret", SAME: "hunter2-very-secret", GONE: "x" } },
    });
    expect(set.json).toMatchObject({ version: 1, secrets: [{ name: "GONE" }, { name: "PASSWORD" }, { name: "SAME" }] });
    const [, password, same] = set.json.secrets;
    expect(password.digest).toBe(same.digest);
    expect((await secrets("", { body: { values: { GONE: null } } })).json.secrets).toHaveLength(2);
    for (const answer of [set, await secrets("?show_secrets=true"), await secrets("/PASSWORD?show_secrets=true")])
      expect(answer.text).not.toContain("hunter2");
    expect((await secrets("/PASSWORD", { method: "DELETE" })).json.secrets).toMatchObject([{ name: "SAME" }]);
    expect((await secrets("/PASSWORD")).status).toBe(404);
    expect((await secrets("/PASSWORD", { method: "DELETE" })).status).toBe(404);
  });

  test("lie in one file that only its owner reads, and in no journal", async () => {
    await secrets("/KEPT", { body: { value: "hunter2-very-secret" } });
    const holding = files(api.folder).filter((path) => readFileSync(path, "latin1").includes("hunter2"));
    expect(holding).toEqual([join(api.folder, "keys", "secrets", "ours.json")]);
    expect(statSync(holding[0]!).mode & 0o777).toBe(0o600);
    expect(api.logged.join("\n")).not.toContain("hunter2");
  });

  test.each(["FLY_APP_NAME", "1A", "A-B", "", "A=B"])("the name %j is refused", async (name) => {
    expect((await secrets("", { body: { values: { [name]: "v" } } })).status).toBe(400);
  });

  test("end with their app: another one of the same name begins without", async () => {
    await api.call("/v1/apps", { body: { name: "short", org_slug: "acme" } });
    await api.call("/v1/apps/short/secrets/A", { body: { value: "v" } });
    expect((await api.call("/v1/apps/short", { method: "DELETE" })).status).toBe(202);
    await api.call("/v1/apps", { body: { name: "short", org_slug: "other" } });
    expect((await api.call("/v1/apps/short/secrets")).json).toEqual({ version: 0, secrets: [] });
  });
});

function files(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
