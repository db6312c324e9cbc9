import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFIG, WebMachines, type TestApi, type Json } from "./harness.ts";

let api: TestApi;
let web: WebMachines;
beforeAll(async () => {
  ({ api, web } = await WebMachines.start());
});
afterAll(() => api.close());

describe("making a Machine", () => {
  test("starts it, and gives its config back as it came, fields without meaning here included", async () => {
    const machine = await web.create({ region: "ams", name: "first" });
    expect(machine).toMatchObject({
      name: "first",
      region: "ams",
      host_status: "ok",
      cordoned: false,
      config: CONFIG,
      image_ref: { registry: "registry.fly.io", repository: "web", tag: "deployment-1", digest: "" },
    });
    expect(machine.id).toMatch(/^[0-9a-f]{14}$/);
    expect(machine.version).toBe(machine.instance_id);
    expect(machine.private_ip).toMatch(/^fdaa:.*:2$/);
    expect(machine).not.toHaveProperty("nonce");
    expect((await web.wait(machine.id, "state=started&timeout=10")).status).toBe(200);
    expect((await web.get(machine.id)).state).toBe("started");
  });

  test("skip_launch leaves it created, and skip_service_registration cordons it", async () => {
    const machine = await web.create({ skip_launch: true, skip_service_registration: true });
    expect(machine).toMatchObject({ state: "created", cordoned: true });
    expect((await web.wait(machine.id, "state=settled&timeout=1")).status).toBe(200);
  });

  test("lease_ttl leases it at once, and only then the answer has a nonce", async () => {
    const machine = await web.create({ skip_launch: true, lease_ttl: 60 });
    expect(machine.nonce).toMatch(/^[0-9a-f]+$/);
    const refused = await web.call(`/${machine.id}/start`, { method: "POST" });
    expect(refused).toMatchObject({ status: 409, json: { code: "lease_held", status: "unknown" } });
    const held = { "fly-machine-lease-nonce": machine.nonce };
    expect((await web.call(`/${machine.id}/start`, { method: "POST", headers: held })).status).toBe(200);
  });

  test("a name that is taken answers 422 with the status that clients know", async () => {
    await web.create({ name: "twice", skip_launch: true });
    const again = await web.call("", { body: { config: CONFIG, name: "twice" } });
    expect(again).toMatchObject({ status: 422, json: { status: "name_taken" } });
  });

  test("a config that names no command is refused with what to write", async () => {
    const answer = await web.call("", { body: { config: { image: "nginx", init: {} } } });
    expect(answer).toMatchObject({ status: 422, json: { code: "missing_command" } });
    expect(answer.json.error).toContain("config.init.exec");
  });

  test.each([
    ["a volume whose name is a path", { mounts: [{ volume: "../../etc", path: "/data" }] }],
    ["a relative destination", { mounts: [{ volume: "vol_1", path: "data" }] }],
    ["a folder that climbs", { metadata: { flycast_folder: "/srv/../root" } }],
    ["a file outside the tree", { files: [{ guest_path: "../x", raw_value: "" }] }],
    ["force_https", { services: [{ internal_port: 1, ports: [{ port: 80, handlers: ["http"], force_https: true }] }] }],
    ["a handler that there is not", { services: [{ internal_port: 1, ports: [{ port: 80, handlers: ["ftp"] }] }] }],
    [
      "a soft limit above the hard one",
      { services: [{ internal_port: 1, concurrency: { soft_limit: 3, hard_limit: 2 } }] },
    ],
    ["a zero byte in a word", { init: { exec: ["a\0b"] } }],
  ])("%s is refused with 400", async (_what, change) => {
    expect((await web.call("", { body: { config: { ...CONFIG, ...change } } })).status).toBe(400);
  });
});

describe("the list", () => {
  test("is filtered by region, state, metadata, and can be short", async () => {
    const metadata = { ...CONFIG.metadata, role: "lister" };
    const one = await web.create({ region: "fra", skip_launch: true, config: { ...CONFIG, metadata } });
    const two = await web.create({ region: "lhr", skip_launch: true, config: { ...CONFIG, metadata } });
    const ids = async (query: string): Promise<string[]> =>
      (await web.call(`?metadata.role=lister&${query}`)).json.map((machine: { id: string }) => machine.id);
    expect(await ids("")).toEqual([one.id, two.id]);
    expect(await ids("region=fra")).toEqual([one.id]);
    expect(await ids("state=created")).toEqual([one.id, two.id]);
    expect(await ids("state=started")).toEqual([]);
    expect(await ids("metadata.none=1")).toEqual([]);
    const [short] = (await web.call("?summary=true&metadata.role=lister&region=fra")).json;
    expect(short).toMatchObject({ id: one.id, state: "created" });
    for (const missing of ["config", "events", "checks", "host_status"]) expect(short).not.toHaveProperty(missing);
  });

  test("hides destroyed Machines unless asked, and one can still be waited for and looked at", async () => {
    const machine = await web.started();
    expect((await web.call(`/${machine.id}`, { method: "DELETE" })).status).toBe(412);
    expect(await web.call(`/${machine.id}?kill=true`, { method: "DELETE" })).toMatchObject({
      status: 200,
      json: { ok: true },
    });
    expect((await web.wait(machine.id, "state=destroyed&timeout=5")).status).toBe(200);
    expect((await web.get(machine.id)).state).toBe("destroyed");
    const listed = async (query: string): Promise<boolean> =>
      (await web.call(query)).json.some((one: { id: string }) => one.id === machine.id);
    expect(await listed("")).toBe(false);
    expect(await listed("?include_deleted=true")).toBe(true);
    expect((await web.call(`/${machine.id}/start`, { method: "POST" })).status).toBe(404);
  });

  test("force destroys what runs, as kill does", async () => {
    const machine = await web.started();
    expect((await web.call(`/${machine.id}?force=true`, { method: "DELETE" })).status).toBe(200);
  });
});

describe("commands", () => {
  test("start tells the state before, and events come newest first, in milliseconds, with a launch", async () => {
    const machine = await web.create({ skip_launch: true });
    const answer = await web.call(`/${machine.id}/start`, { method: "POST" });
    expect(answer.json).toEqual({ message: "", status: "success", previous_state: "created" });
    const { events } = await web.get(machine.id);
    expect(events.map((event: { type: string; status: string }) => `${event.type} ${event.status}`)).toEqual([
      "start started",
      "start starting",
      "launch created",
    ]);
    for (const event of events) expect(event.timestamp).toBeGreaterThan(Date.UTC(2020, 0));
    expect((await web.call(`/${machine.id}/events`)).json).toEqual(events);
  });

  test("the headers of a JSON body without a body are no mistake", async () => {
    const machine = await web.create({ skip_launch: true });
    const headers = { "content-type": "application/json" };
    for (const action of ["start", "cordon", "uncordon", "lease", "suspend"]) {
      const nonce = (await web.call(`/${machine.id}/lease`)).json.data?.nonce;
      const sent = { ...headers, ...(nonce === undefined ? {} : { "fly-machine-lease-nonce": nonce }) };
      expect((await web.call(`/${machine.id}/${action}`, { method: "POST", headers: sent })).status, action).toBe(200);
    }
  });

  test("stop takes a timeout of zero for none, and a signal by name; its exit is told in numbers", async () => {
    const machine = await web.started();
    const body = { id: machine.id, signal: "SIGTERM", timeout: "0s" };
    expect((await web.call(`/${machine.id}/stop`, { body })).json).toEqual({ ok: true });
    expect(api.driver.calls).toContain(`stop ${machine.id} SIGTERM`);
    const { state, events } = await web.get(machine.id);
    expect(state).toBe("stopped");
    expect(events[0]).toMatchObject({
      type: "exit",
      status: "stopped",
      request: { exit_event: { exit_code: 143, signal: 15, requested_stop: true, oom_killed: false } },
    });
  });

  test("a Machine that ended by itself says that nobody asked it to", async () => {
    const machine = await web.started();
    api.driver.crash(machine.id, { code: 3, signal: undefined });
    await web.wait(machine.id, "state=stopped&state=failed&timeout=5");
    const { events } = await web.get(machine.id);
    expect(events[0].request.exit_event).toMatchObject({ exit_code: 3, signal: 0, requested_stop: false });
  });

  test.each([
    ["a number", { signal: 10 }, "SIGUSR1"],
    ["a name", { signal: "SIGHUP" }, "SIGHUP"],
    ["a short name", { signal: "usr2" }, "SIGUSR2"],
    ["what ends no Machine by itself", { signal: "SIGABRT" }, "SIGABRT"],
  ])("signal takes %s", async (_what, body, name) => {
    const machine = await web.started();
    expect((await web.call(`/${machine.id}/signal`, { body })).status).toBe(200);
    expect(api.driver.calls).toContain(`signal ${machine.id} ${name}`);
  });

  test.each([{}, { signal: 12345 }, { signal: "SIGNOPE" }, { signal: {} }, { signal: null }])(
    "signal refuses %j",
    async (body) => {
      const machine = await web.create({ skip_launch: true });
      expect((await web.call(`/${machine.id}/signal`, { body })).status).toBe(400);
    },
  );

  test("suspend and start keep the process; restart makes a new one", async () => {
    const machine = await web.started();
    const pid = (): number | undefined => api.driver.live.get(machine.id)?.pid;
    const before = pid();
    expect((await web.call(`/${machine.id}/suspend`, { method: "POST" })).status).toBe(200);
    expect((await web.get(machine.id)).state).toBe("suspended");
    await web.call(`/${machine.id}/start`, { method: "POST" });
    expect(pid()).toBe(before);
    expect((await web.call(`/${machine.id}/restart?force_stop=false&timeout=1s`, { method: "POST" })).status).toBe(200);
    expect(pid()).not.toBe(before);
    await web.call(`/${machine.id}/restart?force_stop=true`, { method: "POST" });
    expect(api.driver.calls).toContain(`stop ${machine.id} SIGKILL`);
  });

  test("cordon and uncordon are told, and make no new version", async () => {
    const machine = await web.create({ skip_launch: true });
    await web.call(`/${machine.id}/cordon`, { method: "POST" });
    expect(await web.get(machine.id)).toMatchObject({ cordoned: true, instance_id: machine.instance_id });
    await web.call(`/${machine.id}/uncordon`, { method: "POST" });
    expect(await web.get(machine.id)).toMatchObject({ cordoned: false });
  });

  test("a start that fails says why, and the Machine is failed", async () => {
    api.driver.behaviour.startFails = () => "no such program";
    try {
      const machine = await web.create({ skip_launch: true });
      const answer = await web.call(`/${machine.id}/start`, { method: "POST" });
      expect(answer).toMatchObject({ status: 422, json: { code: "PM02", error: "no such program" } });
      expect((await web.get(machine.id)).state).toBe("failed");
    } finally {
      api.driver.behaviour.startFails = () => undefined;
    }
  });
});

describe("auto_destroy", () => {
  test("takes a Machine away when its process has ended", async () => {
    const machine = await web.started({ config: { ...CONFIG, auto_destroy: true } });
    const gone = web.wait(machine.id, "state=destroyed&timeout=20");
    api.driver.crash(machine.id, { code: 0, signal: undefined });
    expect((await gone).status).toBe(200);
    expect((await web.call("")).json.map((one: Json) => one.id)).not.toContain(machine.id);
  });
});

describe("wait", () => {
  test("answers 408 with the text that the platform's client looks for", async () => {
    const machine = await web.create({ skip_launch: true });
    const answer = await web.wait(machine.id, "timeout=1");
    expect(answer).toMatchObject({ status: 408, json: { error: "machine failed to reach desired state" } });
  });

  test("takes several states, and the version by both of its names", async () => {
    const machine = await web.create({ skip_launch: true });
    const version = machine.instance_id;
    expect((await web.wait(machine.id, `state=started&state=created&version=${version}`)).status).toBe(200);
    expect((await web.wait(machine.id, `state=started,created&instance_id=${version}&timeout=5s`)).status).toBe(200);
    const old = await web.wait(machine.id, "state=started&version=01OLD&timeout=1");
    expect(old).toMatchObject({ status: 412 });
    expect(old.json.error).toContain("currently replaced");
    expect((await web.wait(machine.id, "state=replaced&version=01OLD")).status).toBe(200);
  });

  test.each(["state=flying", "timeout=soon", "timeout=NaN"])("refuses %s", async (query) => {
    const machine = await web.create({ skip_launch: true });
    expect((await web.wait(machine.id, query)).status).toBe(400);
  });

  test("wakes up when the Machine gets there, also to its end", async () => {
    const machine = await web.started();
    const stopped = web.wait(machine.id, "state=stopped&timeout=20");
    const gone = web.wait(machine.id, "state=destroyed&timeout=20");
    await web.call(`/${machine.id}/stop`, { body: {} });
    expect((await stopped).status).toBe(200);
    await web.call(`/${machine.id}`, { method: "DELETE" });
    expect((await gone).status).toBe(200);
  });
});

describe("an update", () => {
  const changed = { ...CONFIG, env: { A: "2" } };

  test("gives a running Machine a new life with a new version, settled only then", async () => {
    const machine = await web.started();
    const before = api.driver.live.get(machine.id)?.pid;
    api.driver.behaviour.stopDelay = () => 50;
    const updated = (await web.call(`/${machine.id}`, { body: { id: machine.id, config: changed } })).json;
    expect(updated.instance_id).not.toBe(machine.instance_id);
    expect(["replacing"]).toContain(updated.state);
    expect((await web.wait(machine.id, `state=settled&version=${updated.instance_id}&timeout=10`)).status).toBe(200);
    api.driver.behaviour.stopDelay = () => 0;
    expect(await web.get(machine.id)).toMatchObject({ state: "started", config: changed });
    expect(api.driver.live.get(machine.id)?.pid).not.toBe(before);
    const { events } = await web.get(machine.id);
    expect(events.filter((event: { type: string }) => event.type === "launch")).toHaveLength(2);
  });

  test("leaves a stopped Machine stopped, and one that was never started starts unless skip_launch says no", async () => {
    const machine = await web.started();
    await web.call(`/${machine.id}/stop`, { body: {} });
    expect((await web.call(`/${machine.id}`, { body: { config: changed } })).json.state).toBe("stopped");
    const fresh = await web.create({ skip_launch: true });
    await web.call(`/${fresh.id}`, { body: { config: changed, skip_launch: true } });
    expect((await web.get(fresh.id)).state).toBe("created");
    await web.call(`/${fresh.id}`, { body: { config: CONFIG } });
    expect((await web.wait(fresh.id, "state=started&timeout=10")).status).toBe(200);
  });

  test("of a running Machine with skip_launch stops it", async () => {
    const machine = await web.started();
    await web.call(`/${machine.id}`, { body: { config: changed, skip_launch: true } });
    expect((await web.wait(machine.id, "state=stopped&timeout=10")).status).toBe(200);
  });

  test("drops the memory of a suspended Machine", async () => {
    const machine = await web.started();
    await web.call(`/${machine.id}/suspend`, { method: "POST" });
    expect((await web.call(`/${machine.id}`, { body: { config: changed } })).json.state).toBe("stopped");
    expect(api.driver.live.has(machine.id)).toBe(false);
  });

  test("to the same config changes nothing", async () => {
    const machine = await web.started();
    const again = (await web.call(`/${machine.id}`, { body: { config: (await web.get(machine.id)).config } })).json;
    expect(again).toMatchObject({ instance_id: machine.instance_id, state: "started" });
  });
});
