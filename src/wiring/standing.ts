import type { NodeWays } from "../api/status.ts";
import type { ComputerSide } from "../network/linux/core-side.ts";
import { createLinuxPlane } from "../network/linux/plane.ts";
import type { OuterFacts } from "../network/linux/wire.ts";
import { createLoopbackPlane } from "../network/loopback.ts";
import type { NetworkPlane } from "../network/plane.ts";

/** Where the node stands: a lab of its own, or the computer as it is. */
export type Standing =
  | { readonly mode: "loopback" }
  | {
      readonly mode: "lab" | "host";
      readonly outer: OuterFacts;
      readonly computer: ComputerSide;
      readonly nftables: boolean;
    };

export async function createPlane(standing: Standing, stateDir: string): Promise<NetworkPlane> {
  return standing.mode === "loopback" ? createLoopbackPlane() : createLinuxPlane({ ...standing, stateDir });
}

/** How Machines reach the Internet, for `status` and `doctor`. */
export function egressOf(standing: Standing): NodeWays["egress"] {
  if (standing.mode === "loopback") return { by: "computer" };
  const { exit } = standing.outer;
  if (exit.open) return { by: exit.by };
  return { by: "none", because: standing.nftables ? (exit.because ?? 'egress = "none"') : "that needs nftables" };
}
