import pc from "picocolors";
import type { Receipt, SystemEvent, TimedEvent } from "../api/events.ts";
import { printable } from "./output.ts";
import { span } from "./table.ts";

type DrainedApp = Extract<SystemEvent, { event: "draining" }>["apps"][number];

/** One event as one JSON line. */
export function jsonLine(event: SystemEvent, now: Date): string {
  const { event: name, ...rest } = event;
  const timed: TimedEvent = { event: name, time: now.toISOString(), ...rest } as TimedEvent;
  return JSON.stringify(timed);
}

/** One event as one line for people; undefined for those that a table shows. */
export function humanLine(event: SystemEvent, now: Date): string | undefined {
  const time = pc.dim(now.toTimeString().slice(0, 8));
  const line = (app: string, machine: string, text: string): string =>
    `${time}  ${pc.bold(app.padEnd(10))} ${pc.dim(machine)}  ${text}`;
  switch (event.event) {
    case "ready":
      return undefined;
    case "wake":
      return line(
        event.app,
        event.machine,
        `${pc.cyan("wake")}     ${printable(event.by)}${event.waiters > 1 ? ` (${event.waiters} wait)` : ""}`,
      );
    case "started":
      return line(
        event.app,
        event.machine,
        `${pc.green("started")}  ${event.receipt === undefined ? printable(event.because) : receipt(event.receipt)}`,
      );
    case "stopping":
      return line(event.app, event.machine, `${pc.yellow("stopping")} ${printable(event.because)}`);
    case "stopped":
      return line(event.app, event.machine, `${pc.yellow("stopped")}  ${exit(event.exit)}`);
    case "suspended":
      return line(event.app, event.machine, pc.yellow("suspended"));
    case "failed":
      return line(
        event.app,
        event.machine,
        `${pc.red("failed")}   ${printable(event.message)} [${event.code}]${pc.dim(`  flycast logs -m ${event.machine}`)}`,
      );
    case "release":
      return line(event.app, " ".repeat(14), `${pc.cyan("release")}  ${printable(event.command.join(" "))}`);
    case "reload":
      return `${time}  ${pc.cyan("reloaded")} ${event.changed.length === 0 ? "nothing changed" : event.changed.join(", ")}`;
    case "draining":
      return `${time}  ${pc.yellow("in use")}   ${event.apps.map(appInUse).join(", ")}`;
    case "problem":
      return `${time}  ${pc.red("problem")}  ${printable(event.message)} [${event.code}]`;
  }
}

/** `web (1 connection, 2 requests)`. */
function appInUse({ app, connections, requests }: DrainedApp): string {
  const counts = [counted(connections, "connection"), counted(requests, "request")];
  return `${app} (${counts.filter((text) => text !== "").join(", ")})`;
}

function counted(count: number, what: string): string {
  return count === 0 ? "" : `${count} ${what}${count === 1 ? "" : "s"}`;
}

function exit(how: { readonly code?: number; readonly signal?: string }): string {
  if (how.signal !== undefined) return `by ${how.signal}`;
  return how.code === undefined ? "" : `exit code ${how.code}`;
}

/** `in 123 ms: driver 4.0 ms, port open after 98 ms, first byte after 123 ms; 3 waited`. */
function receipt(times: Receipt): string {
  const steps = [
    times.driverStarted === undefined ? undefined : `process after ${span(times.driverStarted)}`,
    times.portOpen === undefined ? undefined : `port open after ${span(times.portOpen)}`,
    times.checkPassed === undefined ? undefined : `check passed after ${span(times.checkPassed)}`,
    times.firstByte === undefined ? undefined : `first byte after ${span(times.firstByte)}`,
  ].filter((step) => step !== undefined);
  return `${steps.join(", ")}${times.waiters > 1 ? `; ${times.waiters} waited` : ""}`;
}
