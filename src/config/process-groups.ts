import type { RawFlyToml } from "./fly-toml-schema.ts";

/**
 * Names of the process groups, sorted, and the one that owns what names no group: `app` if it exists, else the first.
 * Without `[processes]` there is one group, `app`. Source: superfly/flyctl internal/appconfig/processgroups.go.
 */
export function groupNames(raw: Pick<RawFlyToml, "processes">): {
  readonly all: readonly [string, ...string[]];
  readonly default: string;
} {
  const [first, ...rest] = [...raw.processes.keys()].toSorted();
  if (first === undefined) return { all: ["app"], default: "app" };
  return { all: [first, ...rest], default: raw.processes.has("app") ? "app" : first };
}
