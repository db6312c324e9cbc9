import { AppError } from "../core/errors.ts";
import type { NodeConfig } from "../config/model.ts";
import { probeLab } from "../network/linux/probe.ts";
import type { NetworkMode } from "../network/plane.ts";

export interface ChosenMode {
  readonly mode: NetworkMode;
  readonly nftables: boolean;
  /** What people should know: why the lab is not to be had, or what is missing in it. */
  readonly notes: readonly string[];
}

/**
 * `auto` finds out by building a throw-away namespace, and never fails; a mode that was asked for does, when it cannot be had.
 * @errors no_privilege, unsupported
 */
export async function chooseMode(wanted: NodeConfig["networkMode"]): Promise<ChosenMode> {
  if (wanted === "loopback") return { mode: "loopback", nftables: false, notes: [] };
  if (wanted === "host") {
    throw new AppError("unsupported", "`flycast up` runs in lab or loopback mode; host mode is for `flycast serve`.");
  }
  const probe = await probeLab();
  if (probe.ok) {
    return { mode: "lab", nftables: probe.nft, notes: notesOf(probe) };
  }
  const why = `${probe.step}: ${probe.stderr.trim() || "refused"}`;
  if (wanted === "lab") {
    throw new AppError("no_privilege", `Lab mode is not possible here (${why}). ${probe.remedy}`, {
      details: { next: "flycast doctor, or --network-mode loopback" },
    });
  }
  return { mode: "loopback", nftables: false, notes: [`Lab mode is not possible here (${why}). ${probe.remedy}`] };
}

/**
 * The mode of a service: host mode, unless the configuration says otherwise. It never falls back by itself, for Machines
 * that end with the node, or share the computer's network, are no small difference.
 * @errors no_privilege, unsupported
 */
export async function chooseServeMode(wanted: NodeConfig["networkMode"]): Promise<ChosenMode> {
  if (wanted === "lab" || wanted === "loopback") return chooseMode(wanted);
  const next = "sudo flycast serve, or --network-mode lab, in which Machines end with the node";
  if (process.platform !== "linux") {
    throw new AppError("unsupported", "Host mode needs Linux.", { details: { next: "--network-mode loopback" } });
  }
  if (process.getuid?.() !== 0) {
    throw new AppError("no_privilege", "`flycast serve` runs in host mode, which needs root.", { details: { next } });
  }
  const probe = await probeLab();
  if (!probe.ok) {
    const why = `${probe.step}: ${probe.stderr.trim() || "refused"}`;
    throw new AppError("no_privilege", `Host mode is not possible here (${why}). ${probe.remedy}`, {
      details: { next: "flycast doctor" },
    });
  }
  return { mode: "host", nftables: probe.nft, notes: notesOf(probe) };
}

function notesOf(probe: { readonly nft: boolean; readonly nftReason?: string | undefined }): readonly string[] {
  if (probe.nft) return [];
  return [`nftables does not work here (${probe.nftReason ?? "missing"}): routing rules keep networks apart.`];
}

export const LOOPBACK_NOTE =
  "Loopback mode: Machines share this computer's network. There is no isolation between apps or organisations, and .flycast names resolve only at the DNS port below.";
