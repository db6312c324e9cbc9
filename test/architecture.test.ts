import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

/** folder → folders it may import from, and why that is all. `main.ts` is the composition root, `wiring/` its parts. */
const ALLOWED: Readonly<Record<string, { readonly from: readonly string[]; readonly because: string }>> = {
  core: { from: [], because: "words and units that everything else is made of; no I/O" },
  config: { from: ["core"], because: "text in, values out: it must be usable by the CLI without a node" },
  network: { from: ["core", "config"], because: "addresses and namespaces know nothing of what runs in them" },
  registry: { from: ["core", "config", "network"], because: "what exists, not what is done with it" },
  telemetry: { from: ["core", "registry"], because: "counts and writes what others tell it" },
  balancer: { from: ["core", "config", "network", "registry"], because: "a pure ordering over a snapshot" },
  machines: {
    from: ["core", "config", "network", "registry", "balancer", "telemetry"],
    because: "runs Machines; who connects to them is not its concern",
  },
  proxy: {
    from: ["core", "config", "network", "registry", "balancer", "machines", "telemetry"],
    because: "one connection's life; it is told what exists",
  },
  dns: {
    from: ["core", "config", "network", "registry", "balancer", "telemetry"],
    because: "answers from the snapshot; writes nothing",
  },
  api: {
    from: ["core", "config", "network", "registry", "machines", "balancer", "telemetry"],
    because: "commands and views over the registry and the Machines; never on the path of a connection",
  },
  wiring: {
    from: ["core", "config", "network", "registry", "balancer", "machines", "proxy", "dns", "api", "telemetry"],
    because: "parts of the composition root: they make things, and decide nothing",
  },
  "main.ts": {
    from: [
      "core",
      "config",
      "network",
      "registry",
      "balancer",
      "machines",
      "proxy",
      "dns",
      "api",
      "telemetry",
      "wiring",
    ],
    because: "the composition root: the one file that knows everything below the CLI",
  },
  cli: {
    from: ["core", "config", "network", "registry", "machines", "api", "telemetry", "dns", "main.ts"],
    because: "what a person types; only up and serve start a system",
  },
};

/** Files that take values and return values: no clock, randomness, environment, files or sockets. */
const PURE: Readonly<Record<string, string>> = {
  "core/": "no I/O by definition",
  "balancer/": "a pure ordering",
  "network/address.ts": "arithmetic on addresses",
  "machines/transition.ts": "the state machine",
  "machines/exits.ts": "the state machine",
  "machines/endings.ts": "the state machine",
  "machines/steps.ts": "the state machine",
  "machines/autostop.ts": "who may stop now",
  "dns/codec.ts": "bytes to messages and back",
  "dns/zone.ts": "names to records",
};
const IMPURE_MODULES = /^node:(fs|net|dgram|tls|http|http2|child_process|os|worker_threads|dns)/;

function files(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return files(path);
    return path.endsWith(".ts") ? [path] : [];
  });
}

function imports(path: string): string[] {
  const text = readFileSync(path, "utf8");
  return [...text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^"';]*?from\s+"([^"]+)"|import\(\s*"([^"]+)"\s*\)/g)].map(
    (match) => match[1] ?? match[2] ?? "",
  );
}

function folderOf(path: string): string {
  const parts = relative(SRC, path).split("/");
  return parts.length === 1 ? (parts[0] ?? "") : (parts[0] ?? "");
}

describe("imports go one way", () => {
  const all = files(SRC);

  for (const path of all) {
    const name = relative(SRC, path);
    test(name, () => {
      const folder = folderOf(path);
      const rule = ALLOWED[folder];
      expect(rule, `${folder} has no rule in ALLOWED`).toBeDefined();
      for (const specifier of imports(path).filter((s) => s.startsWith("."))) {
        const target = folderOf(resolve(dirname(path), specifier));
        if (target === folder) continue;
        expect(rule?.from, `${name} imports ${specifier}, but ${folder}: ${rule?.because}`).toContain(target);
      }
    });
  }

  test("every folder of the table exists", () => {
    const present = new Set(all.map(folderOf));
    expect(Object.keys(ALLOWED).filter((folder) => !present.has(folder))).toEqual([]);
  });
});

describe("pure files stay pure", () => {
  for (const [prefix, because] of Object.entries(PURE)) {
    test(`${prefix}: ${because}`, () => {
      const matching = files(SRC).filter((path) => relative(SRC, path).startsWith(prefix));
      expect(matching, `${prefix} is gone: update the table`).not.toEqual([]);
      for (const path of matching) {
        for (const specifier of imports(path)) expect(specifier, path).not.toMatch(IMPURE_MODULES);
        if (relative(SRC, path) === "core/clock.ts") continue; // where real time comes from
        const code = readFileSync(path, "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
        expect(code, `${path} reads the world`).not.toMatch(
          /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\bprocess\.(env|hrtime)|\bsetTimeout\(|\bfetch\(/,
        );
      }
    });
  }
});
