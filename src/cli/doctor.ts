import { readFileSync } from "node:fs";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import pc from "picocolors";
import type { NodeStatus } from "../api/status.ts";
import { checkResolution } from "../dns/check-resolution.ts";
import { probeLab } from "../network/linux/probe.ts";
import { enterNetwork } from "./client-place.ts";
import { ApiClient } from "./client.ts";
import { controlGroups } from "./doctor-groups.ts";
import { namesOfComputer } from "./doctor-names.ts";
import { possibleWays, waysOfNode } from "./doctor-ways.ts";
import { findProgram } from "./find-program.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";

interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly remedy?: string;
}

/** Says what works on this computer, and why not. Fails only where nothing would run at all. */
export async function run(options: GlobalOptions): Promise<number> {
  const findings: Finding[] = [
    nodeVersion(),
    descriptors(),
    ...(await lab()),
    await controlGroups(),
    ...tools(),
    ...(await node(options)),
  ];
  if (options.json === true) printJson({ findings });
  else {
    for (const finding of findings) {
      const mark = finding.ok ? pc.green("ok ") : pc.yellow("no ");
      print(`${mark} ${finding.what.padEnd(20)} ${finding.detail}`);
      if (!finding.ok && finding.remedy !== undefined) print(`    ${" ".repeat(20)} ${finding.remedy}`);
    }
  }
  return findings[0]?.ok === true ? EXIT.done : EXIT.failed;
}

function nodeVersion(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const ok = major > 20 || (major === 20 && minor >= 20);
  return { what: "Node.js", ok, detail: process.versions.node, remedy: "Flycast needs Node 20.20 or newer." };
}

function descriptors(): Finding {
  let limit = Number.NaN;
  try {
    limit = Number(/Max open files\s+(\d+)/.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]);
  } catch {
    // Not Linux.
  }
  if (Number.isNaN(limit)) return { what: "open files", ok: true, detail: "the limit is not known on this system" };
  return {
    what: "open files",
    ok: limit >= 4096,
    detail: `${limit} a process; about ${Math.max(0, Math.floor((limit - Math.max(512, limit / 10)) / 2))} connections`,
    remedy: "Raise it: ulimit -n 65536, or LimitNOFILE= in the unit.",
  };
}

async function lab(): Promise<Finding[]> {
  const probe = await probeLab();
  const who = process.getuid?.() === 0 ? "as root" : "without root";
  if (!probe.ok) {
    return [
      {
        what: "lab mode",
        ok: false,
        detail: `${probe.step}: ${probe.stderr.trim() || "refused"}`,
        remedy: probe.remedy,
      },
      {
        what: "loopback mode",
        ok: true,
        detail: "works everywhere; no isolation, and names resolve only at the DNS port",
      },
    ];
  }
  return [
    { what: "lab mode", ok: true, detail: `namespaces, links and private addresses work ${who}` },
    {
      what: "nftables",
      ok: probe.nft,
      detail: probe.nft ? "works inside the lab" : (probe.nftReason ?? "missing"),
      remedy: "Without it routing rules keep networks apart. Debian package: nftables.",
    },
    { what: "loopback mode", ok: true, detail: "works everywhere; no isolation" },
    ...possibleWays(probe.nft),
  ];
}

function tools(): Finding[] {
  const wanted: Readonly<Record<string, string>> = {
    dig: "bind9-dnsutils, to look up names by hand",
    wg: "wireguard-tools, to join by WireGuard",
  };
  return Object.entries(wanted).map(([tool, use]) => {
    const found = findProgram(tool);
    return { what: tool, ok: found !== undefined, detail: found ?? "not found", remedy: `Debian package ${use}.` };
  });
}

async function node(options: GlobalOptions): Promise<Finding[]> {
  try {
    const client = new ApiClient(options);
    const status = (await client.get("/flycast/v1/status")) as NodeStatus;
    const resolution = status.mode === "loopback" ? await askOutside(client) : await askInside(client);
    return [
      { what: "running node", ok: true, detail: `${client.node.url}, ${status.mode} mode, ${status.apps.length} apps` },
      ...waysOfNode(status),
      ...resolution,
      ...(status.mode === "host" ? await namesOfComputer(status.dns) : []),
    ];
  } catch (error) {
    return [
      {
        what: "running node",
        ok: false,
        detail: error instanceof Error ? error.message : "none",
        remedy: "Start one: flycast up examples/quickstart",
      },
    ];
  }
}

async function askOutside(client: ApiClient): Promise<readonly Finding[]> {
  const { server } = (await client.post("/flycast/v1/dns")) as { server: string };
  const [host = "", port = ""] = server.split(":");
  return checkResolution({ host, port: Number(port) });
}

/** As a Machine would: in a namespace of the network, with its resolv.conf. */
async function askInside(client: ApiClient): Promise<readonly Finding[]> {
  const entry = fileURLToPath(
    new URL(import.meta.url.endsWith(".ts") ? "./doctor-inside.ts" : "./doctor-inside.js", import.meta.url),
  );
  const [file, ...args] = [...(await enterNetwork(client, {})), process.execPath, ...process.execArgv, entry];
  const { stdout } = await promisify(execFile)(file, args, { timeout: 20_000 });
  return JSON.parse(stdout) as readonly Finding[];
}
