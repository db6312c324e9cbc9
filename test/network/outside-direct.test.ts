import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, type AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { directOutside } from "../../src/network/outside-direct.ts";

test("a listener keeps half-open connections open", async () => {
  const server = await directOutside.listen("127.0.0.1", 0);
  server.on("connection", (socket) => {
    socket.resume();
    socket.on("end", () => setImmediate(() => socket.end("still here")));
  });
  const client = connect({ port: (server.address() as AddressInfo).port, allowHalfOpen: true });
  client.end();
  const [answer] = (await once(client, "data")) as [Buffer];
  expect(answer.toString()).toBe("still here");
  server.close();
});

test("a taken port, TCP or UDP, is refused with its code", async () => {
  const server = await directOutside.listen("127.0.0.1", 0);
  const { port } = server.address() as AddressInfo;
  await expect(directOutside.listen("127.0.0.1", port)).rejects.toMatchObject({ code: "port_taken" });
  await expect(directOutside.dial("127.0.0.1", port)).resolves.toBeDefined();
  server.close();
  const udp = await directOutside.bindUdp("127.0.0.1", 0);
  await expect(directOutside.bindUdp("127.0.0.1", udp.address().port)).rejects.toMatchObject({ code: "port_taken" });
  udp.close();
});

test("an address that is not ours is named as such", async () => {
  await expect(directOutside.listen("192.0.2.1", 8080)).rejects.toMatchObject({
    code: "invalid",
    message: "192.0.2.1:8080 is not an address of this computer",
  });
});

test("a dial that fails tells where to and why", async () => {
  const server = await directOutside.listen("127.0.0.1", 0);
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  await expect(directOutside.dial("127.0.0.1", port)).rejects.toMatchObject({
    code: "node_unreachable",
    message: `cannot connect to 127.0.0.1 port ${port}: ECONNREFUSED`,
  });
});

test("an IPv6 address gets an IPv6 socket", async () => {
  const udp = await directOutside.bindUdp("::1", 0);
  const client = createSocket("udp6");
  client.send("x", udp.address().port, "::1");
  const [message] = (await once(udp, "message")) as [Buffer];
  expect(message.toString()).toBe("x");
  udp.close();
  client.close();
});
