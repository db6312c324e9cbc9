import { ms, type Milliseconds } from "../core/units.ts";
import { formatDuration } from "./duration.ts";
import type { Findings } from "./findings.ts";
import { isHeaderName, type TopLevelCheck } from "./fly-toml-checks.ts";

const SECOND = 1000;
const MINUTE = 60_000;

interface Timing {
  readonly interval: Milliseconds | undefined;
  readonly timeout: Milliseconds | undefined;
  readonly grace_period: Milliseconds | undefined;
}

/** The platform raises durations of checks to 1 s and lowers them to 1 min; a grace period may be 0. */
export function clampCheck(value: Milliseconds, name: keyof Timing): Milliseconds {
  if (name === "grace_period" && value === 0) return value;
  return ms(Math.min(MINUTE, Math.max(SECOND, value)));
}

/** Checks of services. */
export function checkTiming(check: Timing, findings: Findings): void {
  for (const name of ["interval", "timeout", "grace_period"] as const) {
    const value = check[name];
    if (value === undefined) continue;
    const used = clampCheck(value, name);
    if (used === value) continue;
    const way = used > value ? "raised" : "lowered";
    const message = `${name} ${formatDuration(value)} is ${way} to ${formatDuration(used)}`;
    findings.warning(findings.at(check, name), "check-duration", message, `write ${name} = "${formatDuration(used)}"`);
  }
}

interface Request {
  readonly method: string | undefined;
  readonly path: string | undefined;
}

/** What a request line can carry: no blanks, no control characters, so that a check sends one request and no more. */
const REQUEST_PATH = /^[\x21-\x7e]+$/;

export function checkRequest(check: Request, findings: Findings): void {
  if (check.method !== undefined && !isHeaderName(check.method)) {
    const message = `${JSON.stringify(check.method.slice(0, 40))} is not a request method`;
    findings.error(findings.at(check, "method"), "bad-request", message, 'write method = "GET"');
  }
  if (check.path === undefined) return;
  const shown = JSON.stringify(check.path.slice(0, 80));
  if (!REQUEST_PATH.test(check.path)) {
    const message = `${shown} is not a request path`;
    findings.error(findings.at(check, "path"), "bad-request", message, "write %20 for a blank, and so on");
  } else if (!check.path.startsWith("/")) {
    const message = `the path ${shown} is read as ${JSON.stringify(`/${check.path.slice(0, 80)}`)}`;
    findings.warning(findings.at(check, "path"), "relative-path", message, "begin it with /");
  }
}

/** Top-level checks. Source of the bounds: superfly/flyctl internal/appconfig/validation.go. */
export function checkTopLevelChecks(
  checks: ReadonlyMap<string, TopLevelCheck>,
  findings: Findings,
  options: { groups: ReadonlySet<string>; defaultPort: (groups: readonly string[]) => boolean },
): void {
  for (const [name, check] of checks) {
    checkRequest(check, findings);
    if (check.type !== "http" && check.type !== "tcp" && !findings.isRefused(check, "type")) {
      const message = `the check ${JSON.stringify(name.slice(0, 80))} has ${check.type === undefined ? "no type" : "an unknown type"}`;
      findings.error(findings.at(check, "type"), "bad-check-type", message, 'write type = "http" or type = "tcp"');
    }
    if (check.interval !== undefined && check.interval < 2 * SECOND) {
      const message = `interval ${formatDuration(check.interval)} is below 2 s`;
      findings.error(findings.at(check, "interval"), "check-interval", message, 'write interval = "2s" or more');
    }
    if (check.timeout !== undefined && check.timeout > MINUTE) {
      const message = `timeout ${formatDuration(check.timeout)} is above 1 min`;
      findings.error(findings.at(check, "timeout"), "check-timeout", message, 'write timeout = "1m" or less');
    }
    if (check.port === undefined && !findings.isRefused(check, "port") && !options.defaultPort(check.processes)) {
      const message = `the check ${JSON.stringify(name.slice(0, 80))} has no port, and there is no [http_service] to take it from`;
      findings.error(findings.at(check), "check-without-port", message, "write port = …");
    }
    check.processes.forEach((group, i) => {
      if (options.groups.has(group)) return;
      const message = `there is no process group ${JSON.stringify(group.slice(0, 80))}`;
      findings.error(findings.at(check, "processes", i), "unknown-group", message, groupsRemedy(options.groups));
    });
  }
}

export function groupsRemedy(groups: ReadonlySet<string>): string {
  return `the groups are ${[...groups].map((name) => JSON.stringify(name)).join(", ")}`;
}
