import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo, type Server } from "node:net";
import { request, type OutgoingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { History } from "../../src/api/history.ts";
import { Leases } from "../../src/api/leases.ts";
import { Secrets } from "../../src/api/secrets.ts";
import { createApi, type ApiOptions } from "../../src/api/server.ts";
import type { StatusSources } from "../../src/api/status.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { NetworkId, RegionCode } from "../../src/core/ids.ts";
import { REGIONS } from "../../src/core/regions.ts";
import { seconds } from "../../src/core/units.ts";
import type { Machines } from "../../src/machines/machines.ts";
import { createMachines } from "../../src/machines/supervisors.ts";
import { openFileRegistry, type FileRegistry } from "../../src/registry/stores/file.ts";
import { FakeDriver } from "../support/fake-driver.ts";

export const NODE_TOKEN = "fct_the-nodes-own-token";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** Parsed, where the answer is JSON. */
  readonly json: Json;
}

/** Whatever an answer may hold: tests say what they expect of it. */
export type Json = ReturnType<typeof JSON.parse>;

export interface Ask {
  readonly method?: string;
  readonly body?: unknown;
  /** Instead of a JSON body. */
  readonly raw?: string | Buffer;
  readonly headers?: OutgoingHttpHeaders;
  /** Null: none. Default: the node's own. */
  readonly token?: string | null;
  readonly inside?: boolean;
  readonly signal?: AbortSignal;
}

/** The API as a node has it: a real registry on a disk, real Machines, real HTTP. Only the driver is a fake. */
export class TestApi {
  readonly registry: FileRegistry;
  readonly driver: FakeDriver;
  readonly machines: Machines;
  readonly leases: Leases;
  readonly folder: string;
  readonly logged: string[];
  /** The network of whoever asks from inside. */
  insideNetwork: NetworkId | undefined;
  readonly #end: (() => Promise<unknown> | void)[];
  readonly #servers: { readonly outside: Server; readonly inside: Server };

  private constructor(
    parts: Omit<TestApi, "insideNetwork" | "close" | "call" | "port">,
    servers: { outside: Server; inside: Server },
    end: (() => Promise<unknown> | void)[],
  ) {
    this.registry = parts.registry;
    this.driver = parts.driver;
    this.machines = parts.machines;
    this.leases = parts.leases;
    this.folder = parts.folder;
    this.logged = parts.logged;
    this.#servers = servers;
    this.#end = end;
  }

  static async start(change: Partial<ApiOptions> = {}): Promise<TestApi> {
    const folder = await mkdtemp(join(tmpdir(), "flycast-api-"));
    const clock = systemClock;
    const registry = await openFileRegistry({ dir: folder, clock, random: randomBytes, onNotice: () => undefined });
    const driver = new FakeDriver(clock);
    const logged: string[] = [];
    const note = (details: object, message: string): void => void logged.push(`${message} ${JSON.stringify(details)}`);
    const log = { info: () => undefined, warn: note, error: note };
    const machines = createMachines({
      registry,
      driver,
      clock,
      random: () => 0.5,
      limits: { wakeTimeout: seconds(5), starts: 8, perNetwork: 1, drainTimeout: seconds(5) },
      autostop: { interval: seconds(60), idle: seconds(300) },
      environment: async () => ({}),
      dialCheck: async () => ({ passed: true, output: "fine" }),
      onEvent: () => undefined,
      log,
    });
    const { view } = registry;
    const leases = new Leases(clock);
    const status: StatusSources = { view, published: () => undefined, claims: () => 0 };
    const self: { api?: TestApi } = {};
    const api = createApi({
      registry,
      view,
      commands: registry.commands,
      clock,
      machines: {
        start: (id, because) => machines.start(id, because),
        stop: async (id, how) => void (await machines.stop(id, how)),
        suspend: async (id, because) => void (await machines.suspend(id, because)),
        restart: async (id, how) => void (await machines.restart(id, how)),
        signal: (id, signal) => driver.signal(id, signal),
        destroy: (id, how) => machines.destroy(id, how),
        exec: async (_machine, order) => ({
          exit: { code: 0, signal: undefined },
          timedOut: order.argv[0] === "sleep",
          stdout: `${JSON.stringify(order.argv)}${order.stdin}`,
          stderr: "",
        }),
        // The test's own process stands for a Machine's.
        processes: () => [process.pid],
      },
      destroy: (id, how) => machines.destroy(id, how),
      deploy: async () => [],
      leases,
      history: new History(registry),
      secrets: new Secrets(folder, clock),
      nodeRegion: "iad" as RegionCode,
      home: () => ({ folder: "/", user: undefined, volumes: join(folder, "volumes") }),
      gateway: () => ({
        host: "127.0.0.1",
        port: 51_820,
        publicKey: `${"k".repeat(43)}=`,
        sync: async () => undefined,
      }),
      regions: () => REGIONS,
      version: "0.0.0",
      status,
      node: () => ({
        egress: { by: "computer" },
        wireguard: undefined,
        mode: "loopback",
        region: "iad",
        version: "0.0.0",
        api: "http://127.0.0.1:1",
        dns: [],
        startedAt: "2026-01-01T00:00:00.000Z",
      }),
      flySrcKey: "00",
      ca: () => "-----BEGIN CERTIFICATE-----\n",
      why: (id) => machines.why(id),
      receipt: (id) => machines.receipt(id),
      logs: async function* () {
        yield "2026-01-01T00:00:00.000Z hello";
      },
      logSince: (_id, position) => ({
        lines: position === undefined ? [{ time: Date.UTC(2026, 0), text: "hello" }] : [],
        position: 6,
      }),
      client: async () => ({ address: undefined, enter: [], owner: undefined, release: () => undefined }),
      dnsFor: async () => "127.0.0.1:53",
      nodeToken: NODE_TOKEN,
      metrics: async () => "flycast_up 1\n",
      ready: () => true,
      networkOf: () => self.api?.insideNetwork,
      log,
      ...change,
    });
    const [outside, inside] = await Promise.all([listen(), listen()]);
    api.attach(outside, "outside");
    api.attach(inside, "inside");
    const test = new TestApi({ registry, driver, machines, leases, folder, logged }, { outside, inside }, [
      () => api.close(),
      () => machines.shutdown({ drain: false }),
      () => registry.close(),
      () => rm(folder, { recursive: true, force: true }),
    ]);
    self.api = test;
    return test;
  }

  async close(): Promise<void> {
    for (const end of this.#end) await end();
  }

  port(inside = false): number {
    return ((inside ? this.#servers.inside : this.#servers.outside).address() as AddressInfo).port;
  }

  call(path: string, ask: Ask = {}): Promise<Answer> {
    const { token = NODE_TOKEN, inside = false } = ask;
    const port = this.port(inside);
    const payload = ask.raw ?? (ask.body === undefined ? undefined : JSON.stringify(ask.body));
    const headers: OutgoingHttpHeaders = {
      host: inside ? "_api.internal:4280" : `127.0.0.1:${port}`,
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(payload === undefined
        ? {}
        : {
            "content-type": "application/json",
            ...(ask.headers?.["transfer-encoding"] === undefined
              ? { "content-length": Buffer.byteLength(payload) }
              : {}),
          }),
      ...ask.headers,
    };
    const method = ask.method ?? (payload === undefined ? "GET" : "POST");
    return new Promise((resolve, reject) => {
      const options = { host: "127.0.0.1", port, path, method, headers, agent: false as const };
      const sent = request({ ...options, ...(ask.signal === undefined ? {} : { signal: ask.signal }) }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parse(text) });
        });
      });
      sent.on("error", reject);
      sent.end(payload);
    });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function listen(): Promise<Server> {
  const server = createServer();
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** The config of a Machine that could run, with one service. */
export const CONFIG = {
  image: "registry.fly.io/web:deployment-1",
  init: { exec: ["node", "server.js"] },
  env: { A: "1" },
  metadata: { fly_platform_version: "v2", fly_process_group: "app" },
  guest: { cpu_kind: "shared", cpus: 1, memory_mb: 256 },
  services: [
    {
      protocol: "tcp",
      internal_port: 8080,
      autostop: true,
      autostart: true,
      min_machines_running: 0,
      ports: [{ port: 80, handlers: ["http"] }],
      concurrency: { type: "requests", soft_limit: 20, hard_limit: 25 },
      force_instance_key: null,
    },
  ],
  restart: { policy: "no" },
  statics: [{ guest_path: "/public", url_prefix: "/" }],
};

/** Calls about the Machines of the app `web`, which `start` makes. */
export class WebMachines {
  readonly #api: TestApi;

  constructor(api: TestApi) {
    this.#api = api;
  }

  static async start(): Promise<{ readonly api: TestApi; readonly web: WebMachines }> {
    const api = await TestApi.start();
    await api.call("/v1/apps", { body: { app_name: "web", org_slug: "personal" } });
    return { api, web: new WebMachines(api) };
  }

  call(path = "", ask?: Ask): Promise<Answer> {
    return this.#api.call(`/v1/apps/web/machines${path}`, ask);
  }

  async create(body: object = {}): Promise<Json> {
    return (await this.call("", { body: { config: CONFIG, ...body } })).json;
  }

  wait(id: string, query: string): Promise<Answer> {
    return this.call(`/${id}/wait?${query}`);
  }

  /** A new one, once it is started. */
  async started(body: object = {}): Promise<Json> {
    const machine = await this.create(body);
    const { status, text } = await this.wait(machine.id, "state=started&timeout=10");
    if (status !== 200) throw new Error(`the Machine did not start: ${text}`);
    return machine;
  }

  async get(id: string): Promise<Json> {
    return (await this.call(`/${id}`)).json;
  }
}
