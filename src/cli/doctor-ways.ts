import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import type { NodeWays } from "../api/status.ts";
import { isPrivileged } from "../network/linux/privileges.ts";
import { findProgram } from "./find-program.ts";

interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly remedy?: string;
}

/** What a node would have here: a way out for its Machines, and what carries WireGuard tunnels. */
export function possibleWays(nftables: boolean): readonly Finding[] {
  return [possibleEgress(nftables), possibleWireGuard()];
}

function possibleEgress(nftables: boolean): Finding {
  const what = "egress";
  if (!nftables) return { what, ok: false, detail: "none: that needs nftables", remedy: "Debian package: nftables." };
  if (isPrivileged()) return { what, ok: true, detail: "as root, by a veth pair with masquerading" };
  const program = ["pasta", "slirp4netns"].find((name) => findProgram(name) !== undefined);
  if (program !== undefined) return { what, ok: true, detail: `by ${program}` };
  const remedy = "Without it Machines do not reach the Internet. Debian package passt, or slirp4netns.";
  return { what, ok: false, detail: "neither pasta nor slirp4netns is installed", remedy };
}

function possibleWireGuard(): Finding {
  const what = "WireGuard gateway";
  if (findProgram("wg") === undefined) {
    return { what, ok: false, detail: "needs wg", remedy: "Debian package wireguard-tools." };
  }
  if (kernelHasWireGuard()) return { what, ok: true, detail: "possible, with the kernel's WireGuard" };
  if (findProgram("wireguard-go") === undefined) {
    const detail = "this kernel seems to have no WireGuard, and wireguard-go is not installed";
    return { what, ok: false, detail, remedy: "Debian package wireguard-go." };
  }
  if (existsSync("/dev/net/tun")) return { what, ok: true, detail: "possible, with wireguard-go" };
  return { what, ok: false, detail: "wireguard-go needs /dev/net/tun, which is not here", remedy: "modprobe tun" };
}

/** Loaded, built in, or there to be loaded. */
function kernelHasWireGuard(): boolean {
  if (existsSync("/sys/module/wireguard")) return true;
  return ["modules.builtin", "modules.dep"].some((list) => {
    try {
      return /\/wireguard\.ko/.test(readFileSync(`/lib/modules/${release()}/${list}`, "utf8"));
    } catch {
      return false;
    }
  });
}

/** What the node that runs has. */
export function waysOfNode({ mode, egress, wireguard }: NodeWays & { readonly mode: string }): readonly Finding[] {
  return [egressOfNode(egress), wireGuardOfNode(wireguard, mode)];
}

function egressOfNode({ by, because }: NodeWays["egress"]): Finding {
  const what = "its egress";
  if (by === "computer") return { what, ok: true, detail: "Machines use the computer's own network" };
  if (by === "veth") return { what, ok: true, detail: "by a veth pair with masquerading" };
  if (by !== "none") return { what, ok: true, detail: `by ${by}` };
  const remedy = "Machines do not reach the Internet: docs/egress.md.";
  return { what, ok: false, detail: `none: ${because ?? "no way was found"}`, remedy };
}

function wireGuardOfNode(gateway: NodeWays["wireguard"], mode: string): Finding {
  const what = "its WireGuard";
  if (gateway === undefined && mode === "loopback") {
    return { what, ok: true, detail: "no gateway: in loopback mode there is no network to join" };
  }
  if (gateway === undefined) {
    return { what, ok: true, detail: 'no gateway; wireguard = "ADDRESS:51820" under [node] opens one' };
  }
  const { host, port, by, tunnels } = gateway;
  const where = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  if (by === undefined) {
    return {
      what,
      ok: false,
      detail: `${where}: the tunnels have ended`,
      remedy: "It is tried again; see the node's log.",
    };
  }
  return { what, ok: true, detail: `${where}, carried by ${by === "kernel" ? "the kernel" : by}, ${tunnels} peers` };
}
