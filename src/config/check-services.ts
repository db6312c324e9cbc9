import type { Findings } from "./findings.ts";
import type { DesugaredService } from "./desugar.ts";
import type { RawService } from "./fly-toml-services.ts";
import { checkPort, claimedRanges, type ClaimedRange } from "./check-ports.ts";
import { checkRequest, checkTiming } from "./check-checks.ts";

/** What services can get wrong that no single key shows. */
export function checkServices(
  services: readonly DesugaredService[],
  findings: Findings,
  options: { groups: ReadonlySet<string>; hasProcesses: boolean; allowForceHttps: boolean },
): void {
  const claimed: ClaimedRange[] = [];
  for (const { service } of services) {
    checkGroups(service, findings, options);
    if (service.protocol === "udp") {
      const message = "UDP is not on Flycast, here as on the platform; the service is skipped";
      findings.warning(findings.at(service, "protocol"), "udp-service", message);
      continue;
    }
    checkService(service, findings);
    for (const port of service.ports) {
      checkPort(port, findings, options);
      claimed.push(...claimedRanges(port, claimed.length, findings));
    }
  }
  checkOverlaps(claimed, findings);
  if (services.length > 0 && services.every(({ service }) => service.protocol === "udp")) {
    const message = "every service is UDP, and UDP is not on Flycast";
    findings.error(["services"], "only-udp", message, "add a TCP service, or remove the services for a worker");
  }
}

function checkGroups(
  service: RawService,
  findings: Findings,
  options: { groups: ReadonlySet<string>; hasProcesses: boolean },
): void {
  const names = [...options.groups].map((name) => `"${name}"`).join(", ");
  if (service.processes.length === 0 && options.hasProcesses && !findings.isRefused(service, "processes")) {
    const message = `the service names no processes, but [processes] has ${options.groups.size}`;
    findings.error(findings.at(service), "missing-processes", message, `write processes = [${names}], or some of them`);
  }
  service.processes.forEach((name, i) => {
    if (options.groups.has(name)) return;
    const message = `there is no process group "${name}"`;
    findings.error(findings.at(service, "processes", i), "unknown-group", message, `the groups are ${names}`);
  });
}

function checkService(service: RawService, findings: Findings): void {
  if (service.internal_port === undefined && !findings.isRefused(service, "internal_port")) {
    const message = "the service names no internal_port; 8080 is used";
    findings.warning(
      findings.at(service),
      "no-internal-port",
      message,
      "write internal_port = 8080, or the app's port",
    );
  }
  if (service.ports.length === 0 && !findings.isRefused(service, "ports")) {
    const message = "the service has no ports, so nobody can connect to it";
    findings.warning(findings.at(service), "no-ports", message, "add [[services.ports]] with port = …");
  }
  if (service.auto_stop_machines !== "off" && !service.auto_start_machines) {
    const message = "Machines are stopped when idle, and connections do not start them again";
    const path = findings.at(service, "auto_start_machines");
    findings.warning(
      path,
      "stops-for-good",
      message,
      'write auto_start_machines = true, or auto_stop_machines = "off"',
    );
  }
  const limits = service.concurrency;
  const soft = limits?.soft_limit ?? 0;
  const hard = limits?.hard_limit ?? 0;
  if (limits !== undefined && hard > 0 && soft > hard) {
    const message = `soft_limit ${soft} is above hard_limit ${hard}`;
    const path = findings.at(limits, "soft_limit");
    findings.error(path, "soft-above-hard", message, `write soft_limit = ${hard} or less, or a higher hard_limit`);
  }
  for (const check of [...service.tcp_checks, ...service.http_checks]) checkTiming(check, findings);
  for (const check of service.http_checks) checkRequest(check, findings);
}

function checkOverlaps(claimed: readonly ClaimedRange[], findings: Findings): void {
  const sorted = claimed.toSorted((a, b) => a.start - b.start || a.order - b.order);
  let widest: ClaimedRange | undefined;
  for (const range of sorted) {
    // A port and a range in one entry may overlap: either matches.
    if (widest !== undefined && range.start <= widest.end && range.entry !== widest.entry) {
      const later = range.order > widest.order ? range : widest;
      const message = `port ${range.start} is claimed twice`;
      findings.error(later.path, "port-claimed-twice", message, "give each port to one service");
    }
    if (widest === undefined || range.end > widest.end) widest = range;
  }
}
