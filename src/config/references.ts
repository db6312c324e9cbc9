import type { Service } from "./model.ts";
import { nearest } from "./nearest.ts";

// The name and the port are checked apart, so that a slip in either is named and not left as text.
const REFERENCE = /\$\{([^{}]{0,200})\}/g;
const TARGET = /^([a-z0-9-]{1,63})\.flycast:(\d{1,5})$/;

/** Whether `${…}` is meant as a reference: anything else in an environment is the app's own business. */
function isMeant(inside: string): boolean {
  return inside.includes(".flycast");
}

/**
 * Environment values with `${APP.flycast:PORT}` replaced by what `resolve` says is dialled for it (`host:port`). A reference
 * that it does not know stays as it is, like every other `${…}`.
 */
export function expandReferences(
  env: Readonly<Record<string, string>>,
  resolve: (app: string, port: number) => string | undefined,
): Readonly<Record<string, string>> {
  const expand = (value: string) =>
    value.replaceAll(REFERENCE, (whole: string, inside: string) => {
      const match = TARGET.exec(inside);
      return match?.[1] === undefined ? whole : (resolve(match[1], Number(match[2])) ?? whole);
    });
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, expand(value)]));
}

/** Names of the apps that a value refers to, each once. */
export function referencedApps(value: string): readonly string[] {
  const names = [...value.matchAll(REFERENCE)].map(([, inside = ""]) => TARGET.exec(inside)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))];
}

export interface ReferenceProblem {
  readonly message: string;
  readonly remedy: string;
}

/** References of one value that name no app, or a port that the app does not list. */
export function checkReferences(
  value: string,
  apps: ReadonlyMap<string, readonly Pick<Service, "ports">[]>,
  /** Names of all apps: one whose fly.toml is broken is named, but its ports are not known. */
  names: ReadonlySet<string> = new Set(apps.keys()),
): readonly ReferenceProblem[] {
  const problems: ReferenceProblem[] = [];
  for (const [whole, inside = ""] of value.matchAll(REFERENCE)) {
    if (!isMeant(inside)) continue;
    const match = TARGET.exec(inside);
    const name = match?.[1];
    if (name === undefined) {
      problems.push({ message: `${whole} is not a reference`, remedy: "write ${APP.flycast:PORT}" });
      continue;
    }
    const services = apps.get(name);
    if (services === undefined) {
      if (names.has(name)) continue;
      const guess = nearest(name, names);
      const remedy = guess === undefined ? `the apps are ${[...names].join(", ")}` : `did you mean ${guess}?`;
      problems.push({ message: `there is no app ${name} for ${whole}`, remedy });
      continue;
    }
    const number = Number(match?.[2]);
    const ranges = services.flatMap((service) => service.ports);
    if (ranges.some((range) => number >= range.start && number <= range.end)) continue;
    const listed = ranges.map((range) =>
      range.start === range.end ? `${range.start}` : `${range.start}-${range.end}`,
    );
    const remedy = listed.length === 0 ? `${name} has no ports` : `its ports are ${listed.join(", ")}`;
    problems.push({ message: `${name} lists no port ${number} for ${whole}`, remedy });
  }
  return problems;
}
