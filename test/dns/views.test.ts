import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect } from "node:net";
import { expect, test } from "vitest";
import type { NetworkId } from "../../src/core/ids.ts";
import type { Asker } from "../../src/dns/zone.ts";
import { framed, query, show, type Shown } from "./ask.ts";
import { HOME, IAD, Landscape, OTHER, machineId } from "./landscape.ts";
import { bindPair, cleanUp, serve } from "./support.ts";

/** Linux answers for all of 127/8, so that one computer can ask from many places. */
const SOURCES: Record<string, NetworkId> = { "127.0.0.2": HOME, "127.0.0.3": OTHER };
const identify = (source: string): Asker | undefined => {
  const network = SOURCES[source];
  return network === undefined ? undefined : { network, region: IAD };
};

const landscape = new Landscape().app("web").app("secret", OTHER);
const web = landscape.machine("web", machineId(1));
const secret = landscape.machine("secret", machineId(2));

async function askFrom(source: string, port: number, name: string, transport: "udp" | "tcp" = "udp"): Promise<Shown> {
  const message = query(name, "AAAA");
  if (transport === "udp") {
    const socket = createSocket("udp4");
    socket.bind(0, source);
    await once(socket, "listening");
    socket.send(message, port, "127.0.0.1");
    const [answer] = (await once(socket, "message")) as [Buffer];
    socket.close();
    return show(answer);
  }
  const socket = connect({ port, host: "127.0.0.1", localAddress: source });
  socket.write(framed(message));
  const [chunk] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return show(chunk.subarray(2));
}

test.each(["udp", "tcp"] as const)("over %s the source decides whose names are answered", async (transport) => {
  const { port } = await serve(landscape, { how: "by-source", identify });
  expect((await askFrom("127.0.0.2", port, "web.internal", transport)).answers).toEqual([web]);
  expect((await askFrom("127.0.0.2", port, "secret.internal", transport)).rcode).toBe("NXDOMAIN");
  expect((await askFrom("127.0.0.3", port, "secret.internal", transport)).answers).toEqual([secret]);
  expect((await askFrom("127.0.0.3", port, "web.internal", transport)).rcode).toBe("NXDOMAIN");
});

test.each(["udp", "tcp"] as const)(
  "a source that belongs to nobody is REFUSED over %s, whatever it asks",
  async (transport) => {
    const { port } = await serve(landscape, { how: "by-source", identify });
    for (const name of ["web.internal", "nope.internal", "example.com"]) {
      expect(await askFrom("127.0.0.9", port, name, transport)).toMatchObject({
        rcode: "REFUSED",
        answers: [],
        soa: false,
      });
    }
  },
);

test("a network's own server refuses members of other networks", async () => {
  const { port } = await serve(landscape, { how: { network: HOME, members: true }, identify });
  expect((await askFrom("127.0.0.2", port, "web.internal")).answers).toEqual([web]);
  expect((await askFrom("127.0.0.3", port, "web.internal")).rcode).toBe("REFUSED");
  expect((await askFrom("127.0.0.3", port, "secret.internal")).rcode).toBe("REFUSED");
  expect((await askFrom("127.0.0.9", port, "web.internal")).rcode).toBe("REFUSED");
});

test("a published port answers for its network, whoever asks", async () => {
  const { port } = await serve(landscape, { how: { network: OTHER }, identify });
  for (const source of ["127.0.0.2", "127.0.0.3", "127.0.0.9"]) {
    expect((await askFrom(source, port, "secret.internal")).answers).toEqual([secret]);
    expect((await askFrom(source, port, "web.internal")).rcode).toBe("NXDOMAIN");
  }
});

test("sockets come and go: each is answered by its own rule until it is detached", async () => {
  const { dns, port } = await serve(landscape, { how: { network: HOME }, identify });
  const later = await bindPair();
  const detachUdp = dns.attachUdp(later.udp, { network: OTHER });
  const detachTcp = dns.attachTcp(later.tcp, { network: OTHER });
  expect((await askFrom("127.0.0.9", later.port, "secret.internal")).answers).toEqual([secret]);

  const open = connect(later.port, "127.0.0.1");
  cleanUp(() => open.destroy());
  open.write(framed(query("secret.internal", "AAAA")));
  await once(open, "data");
  const ended = once(open, "close");
  detachTcp();
  detachUdp();
  detachUdp();
  await ended;
  expect(later.udp.listenerCount("message")).toBe(0);
  expect(later.tcp.listenerCount("connection")).toBe(0);
  expect((await askFrom("127.0.0.9", port, "web.internal")).answers).toEqual([web]);
});

test("a socket that is closed by its maker is forgotten", async () => {
  const { dns } = await serve(landscape, { how: { network: HOME }, identify });
  const gone = await bindPair();
  dns.attachUdp(gone.udp, { network: HOME });
  dns.attachTcp(gone.tcp, { network: HOME });
  const closed = Promise.all([once(gone.udp, "close"), once(gone.tcp, "close")]);
  gone.udp.close();
  gone.tcp.close();
  await closed;
  expect(gone.udp.listenerCount("message")).toBe(0);
  expect(gone.tcp.listenerCount("connection")).toBe(0);
});
