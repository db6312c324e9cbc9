import { expect, test } from "vitest";
import type { NetworkId } from "../../../src/core/ids.ts";
import { bytes } from "../../../src/core/units.ts";
import { RetainedBody, RetainedBytes } from "../../../src/proxy/http/retained-body.ts";

const A = 1 as NetworkId;
const B = 2 as NetworkId;

test("a network gets its share of the memory for replays, and another one still has its own", () => {
  const memory = new RetainedBytes(() => ({ replayMemory: bytes(1000), perNetwork: 0.5 }));
  const first = new RetainedBody(memory, A);
  first.add(Buffer.alloc(400), true);
  const second = new RetainedBody(memory, A);
  second.add(Buffer.alloc(200), true);
  expect(first.chunks).toHaveLength(1);
  expect(second.chunks, "600 of 500 bytes").toBeUndefined();
  const other = new RetainedBody(memory, B);
  other.add(Buffer.alloc(500), true);
  expect(other.chunks).toHaveLength(1);
  first.drop();
  const third = new RetainedBody(memory, A);
  third.add(Buffer.alloc(500), true);
  expect(third.chunks, "what was given back may be taken again").toHaveLength(1);
});

test("a change of the limits counts for what comes next", () => {
  let replayMemory = 100;
  const memory = new RetainedBytes(() => ({ replayMemory: bytes(replayMemory), perNetwork: 1 }));
  const body = new RetainedBody(memory, A);
  body.add(Buffer.alloc(100), true);
  replayMemory = 200;
  body.add(Buffer.alloc(100), true);
  expect(body.chunks).toHaveLength(2);
});
