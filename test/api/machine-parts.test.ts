import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFIG, WebMachines, type TestApi } from "./harness.ts";

let api: TestApi;
let web: WebMachines;
beforeAll(async () => {
  ({ api, web } = await WebMachines.start());
});
afterAll(() => api.close());

describe("metadata", () => {
  test("is set and removed with 204, without a new version, and shown in the config", async () => {
    const machine = await web.create({ skip_launch: true });
    const path = `/${machine.id}/metadata`;
    expect((await web.call(`${path}/role`, { body: { value: "primary" } })).status).toBe(204);
    expect((await web.call(path)).json).toEqual({ ...CONFIG.metadata, role: "primary" });
    expect(await web.get(machine.id)).toMatchObject({
      instance_id: machine.instance_id,
      config: { metadata: { role: "primary" } },
    });
    expect((await web.call(`${path}/role`, { method: "DELETE" })).status).toBe(204);
    expect((await web.call(path)).json).toEqual(CONFIG.metadata);
  });
});

describe("leases", () => {
  test("are taken, shown, prolonged and given back; data.version is the Machine's version", async () => {
    const machine = await web.create({ skip_launch: true });
    const path = `/${machine.id}/lease`;
    expect(await web.call(path)).toMatchObject({ status: 404, json: { error: "lease not found" } });
    const taken = await web.call(`${path}?ttl=120`, { method: "POST" });
    expect(taken.json).toMatchObject({ status: "success", data: { owner: "api", version: machine.instance_id } });
    const { nonce, expires_at: expires } = taken.json.data;
    expect(expires).toBeGreaterThan(Date.now() / 1000 + 100);
    // Whoever looks at the Machine sees that it is leased, not what the holder shows to change it.
    const seen = await web.get(machine.id);
    expect(seen).toMatchObject({ lease: { owner: "api", expires_at: expires } });
    expect(JSON.stringify(seen)).not.toContain(nonce);
    expect((await web.call(path)).json.data.nonce).toBe(nonce);
    expect(await web.call(`${path}?ttl=10`, { method: "POST" })).toMatchObject({ status: 409 });
    const headers = { "fly-machine-lease-nonce": nonce };
    const longer = await web.call(path, { body: { ttl: 600, description: "deploying" }, headers });
    expect(longer.json.data).toMatchObject({ nonce, description: "deploying" });
    expect(longer.json.data.expires_at).toBeGreaterThan(expires);
    for (const [method, where] of [
      ["POST", ""],
      ["POST", "/stop"],
      ["DELETE", ""],
      ["POST", "/metadata/k"],
    ] as const) {
      const ask = { method, ...(method === "POST" ? { body: { config: CONFIG, value: "v" } } : {}) };
      expect((await web.call(`/${machine.id}${where}`, ask)).status, `${method} ${where}`).toBe(409);
    }
    expect((await web.call(path, { method: "DELETE" })).status).toBe(409);
    expect((await web.call(path, { method: "DELETE", headers })).status).toBe(200);
    expect((await web.get(machine.id)).lease).toBeUndefined();
  });

  test.each(["ttl=-1", "ttl=x"])("refuse %s", async (query) => {
    const machine = await web.create({ skip_launch: true });
    expect((await web.call(`/${machine.id}/lease?${query}`, { method: "POST" })).status).toBe(400);
  });
});

describe("inside a Machine", () => {
  test("exec runs words, not a shell, and tells how it ended", async () => {
    const machine = await web.started();
    const ran = await web.call(`/${machine.id}/exec`, { body: { cmd: "echo 'a b' $HOME", stdin: "in", timeout: 5 } });
    expect(ran.json).toEqual({ exit_code: 0, stdout: '["echo","a b","$HOME"]in', stderr: "" });
    expect((await web.call(`/${machine.id}/exec`, { body: { command: ["ls", "-l"] } })).json.stdout).toBe(
      '["ls","-l"]',
    );
    expect((await web.call(`/${machine.id}/exec`, { body: { cmd: "sleep 9" } })).status).toBe(408);
    for (const body of [{}, { cmd: "" }, { cmd: "'open" }, { cmd: 1 }])
      expect((await web.call(`/${machine.id}/exec`, { body })).status).toBe(400);
  });

  test("exec refuses a Machine that does not run", async () => {
    const machine = await web.create({ skip_launch: true });
    expect((await web.call(`/${machine.id}/exec`, { body: { cmd: "true" } })).status).toBe(412);
  });

  test("ps lists its processes with where they listen", async () => {
    const machine = await web.started();
    const [row] = (await web.call(`/${machine.id}/ps`)).json;
    expect(row).toMatchObject({ pid: process.pid, directory: process.cwd() });
    expect(row.rss).toBeGreaterThan(1_000_000);
    expect(row.listen_sockets).toContainEqual({ proto: "tcp", address: `127.0.0.1:${api.port()}` });
  });
});
