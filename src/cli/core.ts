// The entry of the core: the process that runs inside the lab's namespaces. Started by `up` and `serve`, never by hand.
import { connectOuter } from "../network/linux/core-side.ts";
import type { ToNode } from "./node-protocol.ts";
import { NodeSide } from "./node-side.ts";
import { decode, encode } from "./wire.ts";

const outer = await connectOuter();
const node = new NodeSide(
  outer.outside,
  { outer: outer.facts, computer: outer.computer },
  (message) => outer.send(encode(message)),
  // The last message must be on its way before the process is gone.
  () => setTimeout(() => process.exit(0), 50),
);
outer.onMessage((text) => {
  if (typeof text === "string") node.receive(decode<ToNode>(text));
});
