/**
 * The starter: a small process that starts Machines for the node, which would stop for 10 to 25 ms at each fork because
 * of its size. It reaps them, keeps their output within bounds, and in host mode outlives the node together with them.
 *
 * Run as `node starter.js end|outlive` with an IPC channel. `end`: when the channel closes, everything that it started
 * is killed. `outlive`: it goes on until the last of its Machines has ended, and leaves exits in their life files.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync } from "node:fs";
import { attempt } from "./attempt.ts";
import { familyOf, isSameProcess, bootId, pidNamespace, readProcess, trySignal, type FamilyMark } from "./processes.ts";
import { removeLife, writeLife, type LifeRecord } from "./life-file.ts";
import { openOutput, OutputKeeper, realOutputPath } from "./output-files.ts";
import { parseOrder, type Report, type StartOrder } from "./starter-protocol.ts";

interface Child {
  readonly order: StartOrder;
  readonly process: ChildProcess;
  readonly mark: FamilyMark;
  readonly keeper: OutputKeeper | undefined;
}

const outlive = process.argv[2] === "outlive";
const boot = bootId();
const namespace = pidNamespace();
const children = new Map<number, Child>();
let orphaned = false;

function report(message: Report): void {
  if (process.connected) process.send?.(message, undefined, {}, () => {});
}

function start(order: StartOrder): void {
  let output: number;
  try {
    output = openOutput(order.folder);
  } catch (error) {
    refuse(order, error);
    return;
  }
  let child: ChildProcess;
  try {
    const [program, ...args] = order.argv;
    child = spawn(program, args, {
      cwd: order.cwd,
      env: order.env,
      stdio: ["ignore", output, output],
      detached: true, // a session of its own: no signal of a terminal reaches it
      ...order.owner,
    });
  } catch (error) {
    refuse(order, error);
    return;
  } finally {
    closeSync(output);
  }
  child.once("error", (error) => {
    if (child.pid === undefined) refuse(order, error);
  });
  if (child.pid === undefined) return;
  const pid = child.pid;
  const startTime = readProcess(pid)?.startTime ?? 0;
  report({ op: "started", key: order.key, pid, startTime });
  const life = { id: order.id, generation: order.generation, pid, startTime, boot, pidNamespace: namespace };
  // After the report: no wake waits for a file.
  attempt(() => writeLife(order.folder, { ...life, starter: process.pid }));
  const keeper = attempt(() => new OutputKeeper(order.folder));
  const mark = { id: order.id, main: pid, since: startTime, output: realOutputPath(order.folder) };
  children.set(order.key, { order, process: child, mark, keeper });
  child.once("exit", (code, signal) => ended(order.key, { ...life, starter: process.pid }, code, signal));
}

function refuse(order: StartOrder, thrown: unknown): void {
  const error = thrown as NodeJS.ErrnoException;
  // Node's own complaints about arguments repeat them, and an environment holds secrets.
  const message = error.syscall === undefined ? "the arguments cannot be used" : error.message;
  report({ op: "refused", key: order.key, code: error.code ?? "", message });
}

function ended(key: number, life: LifeRecord, code: number | null, signal: string | null): void {
  const child = children.get(key);
  if (child === undefined) return;
  const finish = (): void => {
    children.delete(key);
    attempt(() => child.keeper?.close());
    const exit = { code: code ?? undefined, signal: signal ?? undefined };
    attempt(() => (outlive ? writeLife(child.order.folder, { ...life, exit }) : removeLife(child.order.folder)));
    report({ op: "exited", key, code, signal });
    if (orphaned && children.size === 0) process.exit(0);
  };
  if (child.order.sweep || (orphaned && !outlive)) sweepAway(child.mark, finish);
  else finish();
}

/** Kills until nobody is left. A process that the kernel holds (a dead disk) is given up after five seconds. */
function sweepAway(mark: FamilyMark, done: () => void): void {
  const until = Date.now() + 5000;
  // A dying process loses its environment and descriptors before its ports are free: those once seen are waited for.
  const seen = new Map<number, number>();
  const round = (pause: number): void => {
    const found = familyOf(mark);
    for (const { pid, startTime } of found) {
      seen.set(pid, startTime);
      trySignal(pid, "SIGKILL");
    }
    for (const [pid, startTime] of seen) if (!isSameProcess(pid, startTime)) seen.delete(pid);
    if ((found.length === 0 && seen.size === 0) || Date.now() > until) done();
    else setTimeout(() => round(Math.min(50, pause * 2)), pause);
  };
  round(1);
}

process.on("message", (message) => {
  const order = parseOrder(message);
  switch (order.op) {
    case "start":
      start(order);
      break;
    case "signal":
      // Through the handle, which knows whether the process was reaped: never to a stranger with its pid.
      children.get(order.key)?.process.kill(order.signal);
      break;
    case "sweep": {
      const child = children.get(order.key);
      const found = child === undefined ? [] : familyOf(child.mark);
      if (order.signal !== undefined) for (const { pid } of found) trySignal(pid, order.signal);
      report({ op: "swept", request: order.request, found: found.map(({ pid, state }) => ({ pid, state })) });
      break;
    }
  }
});

process.on("disconnect", () => {
  orphaned = true;
  if (!outlive) {
    for (const child of children.values()) {
      child.process.kill("SIGKILL");
      // A Machine in a namespace has descendants here too; the rest ends with the namespace.
      for (const { pid } of familyOf(child.mark)) trySignal(pid, "SIGKILL");
    }
  }
  if (children.size === 0) process.exit(0);
});

// Whoever wants it gone closes the channel; a terminal's or a service manager's signals are for the node.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
