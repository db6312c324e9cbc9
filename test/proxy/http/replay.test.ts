import { afterEach, describe, expect, test } from "vitest";
import { AppError } from "../../../src/core/errors.ts";
import type { AppName, MachineId } from "../../../src/core/ids.ts";
import type { Work } from "../../../src/proxy/context.ts";
import { parseReplayHeader, parseReplayJson } from "../../../src/proxy/http/replay-instruction.ts";
import type { RegistryView } from "../../../src/registry/view.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { httpRoute, MACHINE, StaticReach } from "../../support/static-reach.ts";
import { dial, type Front, type RawOrigin, startFront, startRawOrigin } from "./harness.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const OTHER = "11111111111111" as MachineId;
const ROUTE = httpRoute();

/** Apps `web` and `api` in one organisation and network, `far` on another network. */
const VIEW = {
  app: (name: string) =>
    ({
      web: { name, org: "personal", network: 1 },
      api: { name, org: "personal", network: 1 },
      far: { name, org: "personal", network: 2 },
      open: { name, org: "acme", network: 3, replayFrom: [{ org: "personal", network: "default" }] },
      ajar: { name, org: "acme", network: 3, replayFrom: [{ org: "personal", network: "other" }] },
    })[name],
  machine: (id: string) =>
    ({ [MACHINE]: { id, app: "web", region: "iad" }, [OTHER]: { id, app: "api", region: "ams" } })[id],
  networkNamed: (_org: string, name: string) => ({ default: { id: 1 }, other: { id: 2 } })[name],
  routesOf: () => [ROUTE],
} as unknown as Partial<RegistryView>;

async function start(how: Parameters<typeof startFront>[1] = {}): Promise<{ front: Front; origin: RawOrigin }> {
  const origin = await startRawOrigin();
  cleanups.push(() => origin.close());
  const front = await startFront(origin.port, { type: "connections", view: VIEW, ...how });
  cleanups.push(() => front.close());
  return { front, origin };
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Sees every piece of work that the handler claims for. */
function watch(front: Front): Work[] {
  const seen: Work[] = [];
  const claim = StaticReach.prototype.claim.bind(front.reach);
  front.reach.claim = (work) => {
    seen.push(work);
    return claim(work);
  };
  return seen;
}

describe("fly-replay", () => {
  test("the request is sent again, body and all, to where the header says; the client sees only the second answer", async () => {
    const { front, origin } = await start();
    const works = watch(front);
    const client = await dial(front.port);
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nfly-replay-src: forged\r\n\r\nhello");
    const first = await origin.next();
    await first.take("hello");
    first.end("HTTP/1.1 200 OK\r\nfly-replay: app=api;region=ams;state=s1\r\nContent-Length: 6\r\n\r\nsecret");
    const second = await origin.next();
    const head = await second.takeHead();
    expect(head).toMatch(new RegExp(`\\r\\nfly-replay-src: instance=${MACHINE};region=iad;t=\\d{16};state=s1\\r\\n`));
    expect(head).not.toContain("forged");
    await second.take("hello");
    second.end(OK);
    const answer = await client.take("\r\n\r\nok");
    expect(answer).not.toContain("secret");
    expect(works.map((work) => [work.app, work.wishes])).toEqual([
      ["web", {}],
      ["api", { forceRegions: ["ams"] }],
    ]);
    expect(front.reach.claims.size).toBe(0);
    expect(front.settlements).toHaveLength(1);
  });

  test("the JSON form comes chunked as well, and may change path and headers", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET /x HTTP/1.1\r\nHost: a\r\nX-Old: 1\r\n\r\n");
    const first = await origin.next();
    await first.takeHead();
    const json = JSON.stringify({
      instance: OTHER,
      app: "api",
      transform: { path: "/y?z", delete_headers: ["x-old"], set_headers: [{ name: "X-New", value: "2" }] },
    });
    first.end(
      "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.fly.replay+json\r\nTransfer-Encoding: chunked\r\n\r\n" +
        `${json.length.toString(16)}\r\n${json}\r\n0\r\n\r\n`,
    );
    const second = await origin.next();
    const head = await second.takeHead();
    expect(head).toMatch(/^GET \/y\?z HTTP\/1\.1\r\nHost: a\r\nX-New: 2\r\n/);
    expect(head).not.toContain("X-Old");
    second.end(OK);
    await client.take("\r\n\r\nok");
  });

  test("an app of another organisation is replayed to when its replay_from names the network of the app that answered", async () => {
    const { front, origin } = await start();
    const works = watch(front);
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const first = await origin.next();
    await first.takeHead();
    first.end("HTTP/1.1 200 OK\r\nfly-replay: app=open\r\nContent-Length: 0\r\n\r\n");
    const second = await origin.next();
    await second.takeHead();
    // It may go no further by the first one's leave: the permission is its own.
    second.end("HTTP/1.1 200 OK\r\nfly-replay: app=api\r\nContent-Length: 0\r\n\r\n");
    await client.take("PA05: ");
    expect(works.map((work) => work.app)).toEqual(["web", "open"]);
  });

  test("a request may be replayed ten times, and no more", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for (let i = 0; i < 11; i++) {
      const machine = await origin.next();
      await machine.takeHead();
      machine.end("HTTP/1.1 200 OK\r\nfly-replay: elsewhere=true\r\nContent-Length: 0\r\n\r\n");
    }
    expect(await client.takeHead()).toMatch(/^HTTP\/1\.1 502 /);
    await client.take("PA02: ");
  });

  const REFUSED: readonly (readonly [string, string, string])[] = [
    ["an app that does not exist", "app=nobody", "PA04"],
    ["an app on another network", "app=far", "PA05"],
    ["an app of another organisation that lets in another network", "app=ajar", "PA05"],
    ["an instance of another app", `instance=${OTHER}`, "PA03"],
    ["no key=value", "nonsense", "PA03"],
    ["an instance that is none", "instance=../x", "PA03"],
  ];
  for (const [name, instruction, code] of REFUSED) {
    test(`${name} is refused with ${code}`, async () => {
      const { front, origin } = await start();
      const client = await dial(front.port);
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      const machine = await origin.next();
      await machine.takeHead();
      machine.end(`HTTP/1.1 200 OK\r\nfly-replay: ${instruction}\r\nContent-Length: 0\r\n\r\n`);
      expect(await client.takeHead()).toMatch(/^HTTP\/1\.1 502 /);
      await client.take(`${code}: `);
      expect(front.reach.claims.size).toBe(0);
    });
  }

  const BAD_TRANSFORMS: readonly (readonly [string, object])[] = [
    ["a second length", { set_headers: [{ name: "Content-Length", value: "3" }] }],
    ["a line break in a value", { set_headers: [{ name: "X", value: "1\r\nHost: b" }] }],
    ["a name that is no token", { set_headers: [{ name: "X Y", value: "1" }] }],
    ["a path with a space", { path: "/a b" }],
  ];
  for (const [name, transform] of BAD_TRANSFORMS) {
    test(`a transform with ${name} is refused with PA03`, async () => {
      const { front, origin } = await start();
      const client = await dial(front.port);
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      const machine = await origin.next();
      await machine.takeHead();
      const json = JSON.stringify({ transform });
      machine.end(
        `HTTP/1.1 200 OK\r\nContent-Type: application/vnd.fly.replay+json\r\nContent-Length: ${json.length}\r\n\r\n${json}`,
      );
      await client.take("PA03: ");
    });
  }

  test("a body above 1 MB cannot be replayed (PA01)", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    const size = 1_500_000;
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n${"x".repeat(size)}`);
    const machine = await origin.next();
    await machine.takeHead();
    await machine.until((peer) => peer.received.length === size);
    machine.end("HTTP/1.1 200 OK\r\nfly-replay: elsewhere=true\r\nContent-Length: 0\r\n\r\n");
    expect(await client.takeHead()).toMatch(/^HTTP\/1\.1 413 /);
    await client.take("PA01: ");
  });

  test("with a fallback the app gets the request back, told why, and may not replay it again", async () => {
    const { front, origin } = await start();
    const works = watch(front);
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const first = await origin.next();
    await first.takeHead();
    const claim = front.reach.claim.bind(front.reach);
    front.reach.claim = (work) => {
      if (work.app !== ("api" as AppName)) return claim(work);
      throw new AppError("PR01");
    };
    first.end("HTTP/1.1 200 OK\r\nfly-replay: app=api;fallback=force_self\r\nContent-Length: 0\r\n\r\n");
    const again = await origin.next();
    expect(await again.takeHead()).toMatch(
      new RegExp(
        `\\r\\nfly-replay-failed: instance=${MACHINE};app=web;region=iad;replay_source=api;reason=no_candidate;elapsed_ms=\\d+\\r\\n`,
      ),
    );
    expect(works.at(-1)?.wishes).toEqual({ forceMachine: MACHINE });
    again.end("HTTP/1.1 200 OK\r\nfly-replay: app=api\r\nContent-Length: 0\r\n\r\n");
    await client.take("PA03: ");
  });

  test("a replay that finds nobody in its time fails, or falls back", async () => {
    const { front, origin } = await start();
    const client = await dial(front.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const first = await origin.next();
    await first.takeHead();
    const claim = front.reach.claim.bind(front.reach);
    front.reach.claim = (work) => {
      if (work.app !== ("api" as AppName)) return claim(work);
      return new Promise((_, reject) =>
        work.signal.addEventListener("abort", () => reject(work.signal.reason as Error)),
      );
    };
    first.end("HTTP/1.1 200 OK\r\nfly-replay: app=api;timeout=20ms;fallback=prefer_self\r\nContent-Length: 0\r\n\r\n");
    const again = await origin.next();
    expect(await again.takeHead()).toMatch(/;reason=timeout;/);
    again.end(OK);
    await client.take("\r\n\r\nok");
  });
});

describe("instructions", () => {
  test("list values in quotes, aliases and unknown keys", () => {
    expect(parseReplayHeader('region="iad, ord";elsewhere=true;future=1;state="a;b"')).toMatchObject({
      ok: true,
      value: { regions: ["iad", "ord"], elsewhere: true, state: "a;b" },
    });
    const eu = parseReplayJson('{"region":"eu"}');
    expect(eu.ok && eu.value.regions).toContain("fra");
    expect(parseReplayHeader("region=any")).toMatchObject({ ok: true, value: { regions: undefined } });
  });

  test("what is malformed is refused", () => {
    for (const text of ["", "region", "timeout=10", "fallback=no", "state=\x07", "region=../x", "app=A_B"]) {
      expect(parseReplayHeader(text).ok, text).toBe(false);
    }
    for (const text of ["", "[]", "null", '{"app":1}', '{"transform":[]}', '{"transform":{"set_headers":[{}]}}']) {
      expect(parseReplayJson(text).ok, text).toBe(false);
    }
  });
});

describe("replay cache", () => {
  async function ask(front: Front, request: string): Promise<Awaited<ReturnType<typeof dial>>> {
    const client = await dial(front.port);
    client.send(request);
    return client;
  }
  const REPLAY = (lines: string): string =>
    `HTTP/1.1 200 OK\r\nfly-replay: app=api\r\n${lines}Content-Length: 0\r\n\r\n`;

  test("by path: later requests under it go to the target at once, until the time is over", async () => {
    const clock = new FakeClock();
    const { front, origin } = await start({ clock });
    const works = watch(front);
    const first = await ask(front, "GET /shop/1 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    const router = await origin.next();
    await router.takeHead();
    router.end(
      REPLAY("fly-replay-cache: /shop/*\r\nfly-replay-cache-ttl-secs: 60\r\nfly-replay-cache-allow-bypass: yes\r\n"),
    );
    const target = await origin.next();
    expect(await target.takeHead()).toMatch(/\r\nfly-replay-src: .*\r\nfly-replay-cache-status: miss\r\n/);
    target.end(OK);
    await first.take("\r\n\r\nok");

    const later: readonly (readonly [string, string, RegExp, RegExp?])[] = [
      ["GET /shop/2?x HTTP/1.1\r\nHost: a\r\n\r\n", "api", /fly-replay-cache-status: hit\r\n/, /fly-replay-src/],
      ["GET /shopping HTTP/1.1\r\nHost: a\r\n\r\n", "web", /^GET/, /cache-status/],
      ["GET /shop/2 HTTP/1.1\r\nHost: b\r\n\r\n", "web", /^GET/, /cache-status/],
      ["GET /shop/2 HTTP/1.1\r\nHost: a\r\nfly-replay-cache-control: skip\r\n\r\n", "web", /^GET/, /cache-status/],
    ];
    for (const [request, app, there, absent] of later) {
      const client = await ask(front, request);
      const machine = await origin.next();
      const head = await machine.takeHead();
      expect(head).toMatch(there);
      if (absent !== undefined) expect(head).not.toMatch(absent);
      expect(works.at(-1)?.app).toBe(app);
      machine.end(OK);
      await client.take("\r\n\r\nok");
    }
    await clock.advance(61_000);
    const client = await ask(front, "GET /shop/2 HTTP/1.1\r\nHost: a\r\n\r\n");
    const machine = await origin.next();
    await machine.takeHead();
    expect(works.at(-1)?.app).toBe("web");
    machine.end(OK);
    await client.take("\r\n\r\nok");
  });

  test("by session: the cookie that fly.toml names keeps its target; the target can end it", async () => {
    const rule = { pathPrefix: "/", ttl: 60_000 as never, type: "cookie" as const, name: "sid", allowBypass: false };
    const { front, origin } = await start({ http: { replayCache: [rule] } });
    const works = watch(front);
    const request = (sid: string): string => `GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; sid=${sid}\r\n\r\n`;
    const first = await ask(front, request("one"));
    const router = await origin.next();
    await router.takeHead();
    router.end(REPLAY(""));
    const target = await origin.next();
    expect(await target.takeHead()).toContain("fly-replay-cache-status: miss");
    target.end(OK);
    await first.take("\r\n\r\nok");
    for (const [sid, app] of [
      ["two", "web"],
      ["one", "api"],
    ] as const) {
      const client = await ask(front, request(sid));
      const machine = await origin.next();
      await machine.takeHead();
      expect(works.at(-1)?.app).toBe(app);
      machine.end(
        sid === "two"
          ? OK
          : "HTTP/1.1 200 OK\r\nfly-replay: app=web\r\nfly-replay-cache: invalidate\r\nContent-Length: 0\r\n\r\n",
      );
      if (sid === "one") {
        const back = await origin.next();
        await back.takeHead();
        expect(works.at(-1)?.app).toBe("web");
        back.end(OK);
      }
      await client.take("\r\n\r\nok");
    }
    const last = await ask(front, request("one"));
    const machine = await origin.next();
    await machine.takeHead();
    expect(works.at(-1)?.app).toBe("web");
    machine.end(OK);
    await last.take("\r\n\r\nok");
  });

  test("an app cannot speak for paths that it was not asked", async () => {
    const { front, origin } = await start();
    const works = watch(front);
    for (const app of ["web", "web"]) {
      const client = await ask(front, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
      const router = await origin.next();
      await router.takeHead();
      expect(works.at(-1)?.app).toBe(app);
      router.end(REPLAY("fly-replay-cache: /b\r\nfly-replay-cache-ttl-secs: 60\r\n"));
      const target = await origin.next();
      await target.takeHead();
      target.end(OK);
      await client.take("\r\n\r\nok");
    }
  });
});
