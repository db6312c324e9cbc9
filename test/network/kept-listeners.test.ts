import { once } from "node:events";
import { createServer } from "node:net";
import { createSocket } from "node:dgram";
import { expect, test } from "vitest";
import { isRawSocket, KeptListeners, KeptServer, rawSocketOf } from "../../src/network/linux/kept-listeners.ts";

/** Stands for a descriptor, and says whether it is open. */
function socket(): { close(): void; getAsyncId(): number; open: boolean } {
  return {
    open: true,
    close() {
      this.open = false;
    },
    getAsyncId: () => 1,
  };
}

test("what is under a server and under a UDP socket can be kept", async () => {
  const server = createServer().listen(0, "::1");
  const udp = createSocket("udp6").bind(0, "::1");
  await Promise.all([once(server, "listening"), once(udp, "listening")]);
  expect([rawSocketOf(server), rawSocketOf(udp)].map(isRawSocket)).toEqual([true, true]);
  expect(rawSocketOf(createServer())).toBeUndefined();
  server.close();
  udp.close();
});

test("a server releases its listener when it is to take no more connections, not when the last has ended", async () => {
  let released = 0;
  const server = new KeptServer({}, () => released++);
  server.close();
  expect(released).toBe(0);
  server.listen(0, "::1");
  await once(server, "listening");
  server.close();
  expect(released).toBe(1);
});

test("a listener is kept until it is released, and its successors are told what is kept", () => {
  const told: string[] = [];
  const kept = new KeptListeners(
    (name) => told.push(`keep ${name}`),
    (name) => told.push(`release ${name}`),
  );
  const [a, again, b] = [socket(), socket(), socket()];
  kept.adopt("a", a);
  expect(kept.take("a")).toBe(a);
  kept.keep("b", b);
  kept.keep("a", again);
  expect([a.open, again.open]).toEqual([false, true]);
  kept.release("a");
  kept.release("a");
  expect(kept.take("a")).toBeUndefined();
  expect(again.open).toBe(false);
  expect(told).toEqual(["keep b", "keep a", "release a"]);
  expect(kept.entries().map(([name]) => name)).toEqual(["b"]);
});

test("what nobody took again is released: connections to it would wait for ever", () => {
  const kept = new KeptListeners();
  const [taken, left] = [socket(), socket()];
  kept.adopt("taken", taken);
  kept.adopt("left", left);
  kept.take("taken");
  kept.releaseUnclaimed();
  expect([taken.open, left.open]).toEqual([true, false]);
});

test("who hands over releases nothing any more", () => {
  const kept = new KeptListeners();
  const one = socket();
  kept.keep("one", one);
  kept.freeze();
  kept.release("one");
  expect(one.open).toBe(true);
});
