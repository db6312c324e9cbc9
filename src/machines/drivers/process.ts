/** The embedded driver: a Machine is a process, its session, and where the plane has namespaces, all that is in them. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { AppError, toAppError } from "../../core/errors.ts";
import type { AppName, MachineId } from "../../core/ids.ts";
import { ms, type Milliseconds, type Port } from "../../core/units.ts";
import type { Signal } from "../../config/model.ts";
import type { DialAddress, Place } from "../../network/plane.ts";
import type { Machine } from "../../registry/model.ts";
import type { Exit, RecoveredMachine, StartedMachine } from "../driver.ts";
import { runToEnd, type ExecOrder, type ExecResult } from "./exec.ts";
import { lastWords } from "./last-words.ts";
import { existingLogs, linesSince, readLog, tailOf, type LogOptions, type Lot } from "./log-reader.ts";
import { membersOfFamily, membersOfPlace, type SignalMembers } from "./members.ts";
import { Notices } from "./notices.ts";
import { realOutputPath } from "./output-files.ts";
import { failedStart, Places } from "./places.ts";
import { preflight } from "./preflight.ts";
import type { ProcessDriver, ProcessDriverOptions } from "./process-driver.ts";
import { familyOf, isSameProcess, trySignal } from "./processes.ts";
import { explainRefusal, launchChain, parentDeathWrapper } from "./launch.ts";
import { endsWithin, newLife, NOBODY_SAW, recordedExit, watchMain, type Life } from "./life.ts";
import { readLife } from "./life-file.ts";
import { endStrays, standing } from "./strays.ts";
import { Starter } from "./starter-client.ts";
import { Standstill, type Freezer } from "./standstill.ts";
import { filesOf, makeMountFolders, processEnvironment, runsAs } from "./surroundings.ts";

/** What execvp(3) searches where PATH is not set. */
const DEFAULT_PATH = "/bin:/usr/bin";
/** How long SIGKILL may take. Only a process in the hands of a dead disk or a frozen cgroup needs longer, or for ever. */
const KILL_PATIENCE = ms(10_000);

export async function createProcessDriver(options: ProcessDriverOptions): Promise<ProcessDriver> {
  const { stateDir, clock, freezer, log } = options;
  const notices = new Notices(options);
  const tell = (app: AppName, message: string): void => notices.tell(app, message);
  const standstill = await Standstill.open({ stateDir, clock, freezer, tell });
  log.info({ ...standstill.freezer }, "how Machines are suspended");
  const driver = new Driver(options, await parentDeathWrapper(options), standstill, notices);
  await driver.prepare();
  return driver;
}

class Driver implements ProcessDriver {
  readonly #options: ProcessDriverOptions;
  readonly #clock: Clock;
  readonly #folder: string;
  readonly #dieWithUs: readonly string[];
  /** Whether a Machine is all that is in its namespace; otherwise its session, descendants and whoever carries its id. */
  readonly #namespaces: boolean;
  readonly #starter: Starter;
  readonly #lives = new Map<MachineId, Life>();
  readonly #byKey = new Map<number, Life>();
  readonly #places: Places;
  readonly #lastExits = new Map<MachineId, Exit>();
  readonly #observers = new Set<(id: MachineId, generation: number, exit: Exit) => void>();
  /** Given up by `close`. */
  readonly #watching = { up: false };
  #closed = false;
  readonly #notices: Notices;
  readonly #standstill: Standstill;

  constructor(options: ProcessDriverOptions, dieWithUs: readonly string[], standstill: Standstill, notices: Notices) {
    this.#options = options;
    this.#clock = options.clock;
    this.#folder = join(options.stateDir, "machines");
    this.#dieWithUs = dieWithUs;
    this.#namespaces = options.plane.mode !== "loopback";
    this.#places = new Places(options.plane, options.stateDir);
    this.#standstill = standstill;
    this.#notices = notices;
    this.#starter = new Starter(options.outlive, {
      onExit: (key, exit) => {
        const life = this.#byKey.get(key);
        if (life !== undefined) void this.#finish(life, exit);
      },
      onLost: (keys) => this.#starterLost(keys),
    });
  }

  get freezer(): Freezer {
    return this.#standstill.freezer;
  }

  async prepare(): Promise<void> {
    if (!this.#options.outlive) {
      const ended = await endStrays(this.#folder, this.#clock);
      if (ended > 0) this.#options.log.warn({ machines: ended }, "ended Machines that a killed node had left behind");
      await this.#standstill.endOthers(new Set());
    }
    await this.#starter.warm();
  }

  async start(machine: Machine, generation: number, env: Readonly<Record<string, string>>): Promise<StartedMachine> {
    if (this.#closed) throw new AppError("PM10", "the node is shutting down");
    if (this.#lives.has(machine.id)) throw new AppError("PM07", `Machine ${machine.id} already runs`);
    const { command, folder, mounts, files } = machine.config;
    const inside = [...mounts.map((mount) => mount.destination), ...files.map((file) => file.guestPath)];
    const path = env["PATH"] ?? DEFAULT_PATH;
    const checked = preflight({ app: machine.app, command, folder, path, inside });
    if (!checked.ok) throw new AppError("PM02", checked.error);
    const user = await runsAs(machine);
    if (!this.#namespaces) this.#notices.tellOfFiles(machine);
    const closed = this.#namespaces ? undefined : this.#options.stateDir;
    await makeMountFolders(machine, user, closed).catch(failedStart);
    const place = await this.#places.take(machine, [...(this.#options.files ?? []), ...(await filesOf(machine, env))]);
    const enter = place.enter({ folder, user: machine.config.user });
    const chain = launchChain({ enter, command: checked.value, user, dieWithUs: this.#dieWithUs });
    const life = this.#begin(machine.id, generation, place, this.#starter.nextKey());
    const started = this.#starter.start({
      key: life.key ?? 0,
      id: machine.id,
      generation,
      argv: chain.argv,
      // Entering a mount namespace goes to its root anyway, and the chain then to the folder.
      cwd: enter.length > 0 ? "/" : folder,
      env: processEnvironment(machine, env, { mode: this.#options.plane.mode, env: place.env }, user),
      folder: this.#machineFolder(machine.id),
      owner: chain.owner,
      sweep: !this.#namespaces,
    });
    life.begun = started;
    try {
      const { pid, startTime } = await started;
      life.pid = pid;
      life.startTime = startTime;
      this.#standstill.hold(machine, life);
      return { pid };
    } catch (error) {
      this.#forget(life);
      throw explainRefusal(error, machine.app, checked.value[0]);
    }
  }

  async stop(id: MachineId, how: { readonly signal: Signal; readonly timeout: Milliseconds }): Promise<Exit> {
    const life = this.#lives.get(id);
    if (life === undefined) return this.#lastExits.get(id) ?? NOBODY_SAW;
    await life.begun.catch(() => {});
    life.stopping = true;
    this.#signalMain(life, how.signal);
    // A suspended process takes its signal when it goes on.
    await this.#standstill.resume(life, this.#members(life));
    if (await endsWithin(life, how.timeout, this.#clock)) return life.ended;
    this.#signalMain(life, "SIGKILL");
    await this.#standstill.kill(life, this.#members(life), KILL_PATIENCE);
    if (await endsWithin(life, KILL_PATIENCE, this.#clock)) return life.ended;
    throw new AppError("PM07", `Machine ${id} did not end after SIGKILL: the kernel holds process ${life.pid}`);
  }

  async signal(id: MachineId, signal: NodeJS.Signals): Promise<void> {
    const life = this.#lives.get(id);
    if (life === undefined) throw new AppError("conflict", `Machine ${id} does not run`);
    await life.begun.catch(() => {});
    this.#signalMain(life, signal);
  }

  async suspend(id: MachineId): Promise<void> {
    const life = this.#lives.get(id);
    if (life === undefined) throw new AppError("PM07", `Machine ${id} does not run`);
    await life.begun.catch(() => {});
    life.suspended = await this.#standstill.suspend(life, this.#members(life));
  }

  async resume(id: MachineId): Promise<void> {
    const life = this.#lives.get(id);
    if (life === undefined) throw new AppError("PM07", `Machine ${id} does not run`);
    await this.#standstill.resume(life, this.#members(life));
    life.suspended = undefined;
  }

  endpoint(machine: Machine, port: Port): readonly DialAddress[] {
    return this.#places.dial(machine.id, port);
  }

  observe(onExit: (id: MachineId, generation: number, exit: Exit) => void): () => void {
    this.#observers.add(onExit);
    return () => this.#observers.delete(onExit);
  }

  async recover(machines: readonly Machine[]): Promise<readonly RecoveredMachine[]> {
    if (!this.#options.outlive) return [];
    const found: RecoveredMachine[] = [];
    for (const machine of machines) {
      const folder = this.#machineFolder(machine.id);
      const record = readLife(folder);
      if (record === undefined) continue;
      if (record.exit !== undefined) this.#lastExits.set(machine.id, record.exit);
      if (standing(record) !== "runs") {
        // Children that the main process left in its namespace while nobody was there to end them.
        await this.#places.release(machine.id);
        continue;
      }
      // Its files lie there already, and their secrets are not known here.
      const place = await this.#places.take(machine, []).catch((error: unknown) => toAppError(error));
      if (place instanceof Error) {
        this.#options.log.warn({ machine: machine.id, err: place }, "a Machine that still runs has no place any more");
        continue;
      }
      const life = this.#begin(machine.id, record.generation, place, undefined);
      life.pid = record.pid;
      life.startTime = record.startTime;
      life.suspended = this.#standstill.found(machine.id, record.pid);
      void this.#watch(life);
      const suspended = life.suspended !== undefined;
      found.push({ id: machine.id, generation: life.generation, pid: life.pid, suspended });
    }
    // Places whose Machine this node does not know, or knows to have ended: another state folder, or one that was put back.
    const known = new Set(found.map((machine) => machine.id));
    for (const id of this.#options.plane.placed?.() ?? []) if (!known.has(id)) await this.#places.release(id);
    // Destroyed while we were away, or dead with children left.
    const ended = await endStrays(this.#folder, this.#clock, known);
    await this.#standstill.endOthers(known);
    if (ended > 0) this.#options.log.warn({ machines: ended }, "ended what was left of Machines that no longer run");
    return found;
  }

  async release(id: MachineId): Promise<void> {
    await this.#places.release(id);
  }

  async remove(id: MachineId): Promise<void> {
    await this.release(id);
    this.#lastExits.delete(id);
    await rm(this.#machineFolder(id), { recursive: true, force: true });
  }

  logFiles(id: MachineId): readonly string[] {
    return existingLogs(this.#machineFolder(id));
  }

  tail(id: MachineId, lines: number): readonly string[] {
    return tailOf(this.#machineFolder(id), lines).map((line) => line.text);
  }

  readLog(id: MachineId, options: LogOptions): AsyncIterable<string> {
    return readLog(this.#machineFolder(id), options);
  }

  logSince(id: MachineId, position: number | undefined, lines: number): Lot {
    return linesSince(this.#machineFolder(id), position, lines);
  }

  async runOnce(
    machine: Machine,
    argv: readonly string[],
    env: Readonly<Record<string, string>>,
    timeout: Milliseconds,
  ): Promise<{ exit: Exit; timedOut: boolean; tail: readonly string[] }> {
    await this.start({ ...machine, config: { ...machine.config, command: argv } }, 1, env);
    const life = this.#lives.get(machine.id);
    const timedOut = life !== undefined && !(await endsWithin(life, timeout, this.#clock));
    const exit = await this.stop(machine.id, { signal: "SIGKILL", timeout: ms(0) });
    return { exit, timedOut, tail: this.tail(machine.id, 50) };
  }

  async exec(machine: Machine, order: ExecOrder): Promise<ExecResult> {
    const life = this.#lives.get(machine.id);
    if (life === undefined || life.suspended !== undefined)
      throw new AppError("conflict", `Machine ${machine.id} does not run`);
    await life.begun.catch(() => {});
    const { folder, user: name } = machine.config;
    const user = await runsAs(machine);
    const enter = life.place.enter({ folder, user: name });
    const chain = launchChain({ enter, command: order.argv, user, dieWithUs: this.#dieWithUs });
    const env = processEnvironment(machine, order.env, { mode: this.#options.plane.mode, env: life.place.env }, user);
    const cwd = enter.length > 0 ? "/" : folder;
    return runToEnd(chain, { ...order, env, cwd }, this.#clock).catch(failedStart);
  }

  processes(id: MachineId): readonly number[] {
    const life = this.#lives.get(id);
    if (life === undefined) return [];
    const output = realOutputPath(this.#machineFolder(id));
    const family = { id, main: life.pid, since: life.startTime, output };
    return life.place.members() ?? familyOf(family).map(({ pid }) => pid);
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#options.outlive) this.#watching.up = true;
    if (!this.#options.outlive) {
      await Promise.allSettled(
        [...this.#lives.keys()].map((id) => this.stop(id, { signal: "SIGKILL", timeout: ms(0) })),
      );
    }
    await this.#starter.close();
    for (const life of this.#lives.values()) life.joins?.cancel();
    await this.#standstill.close();
    this.#lives.clear();
    this.#byKey.clear();
  }

  #machineFolder(id: MachineId): string {
    return join(this.#folder, id);
  }

  #begin(id: MachineId, generation: number, place: Place, key: number | undefined): Life {
    // Places take a moment to make: somebody may have been quicker.
    if (this.#lives.has(id)) throw new AppError("PM07", `Machine ${id} already runs`);
    const life = newLife(id, generation, place, key);
    this.#lives.set(id, life);
    if (key !== undefined) this.#byKey.set(key, life);
    return life;
  }

  #forget(life: Life): void {
    if (this.#lives.get(life.id) === life) this.#lives.delete(life.id);
    if (life.key !== undefined) this.#byKey.delete(life.key);
  }

  #members(life: Life): SignalMembers {
    if (this.#namespaces) return membersOfPlace(life.place);
    const { key } = life;
    if (key !== undefined) return (signal) => this.#starter.sweep(key, signal).catch(() => []);
    const output = realOutputPath(this.#machineFolder(life.id));
    return membersOfFamily({ id: life.id, main: life.pid, since: life.startTime, output });
  }

  #signalMain(life: Life, signal: NodeJS.Signals): void {
    if (life.key !== undefined) this.#starter.signal(life.key, signal);
    else if (isSameProcess(life.pid, life.startTime)) trySignal(life.pid, signal);
  }

  /** The main process has ended: ends what it left behind, then tells. A Machine ends with its main process. */
  async #finish(life: Life, exit: Exit): Promise<void> {
    await life.begun.catch(() => {});
    // The channel may bring "started" and "exited" in one go: whoever awaits the start hears of it first.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#lives.get(life.id) !== life) return;
    // Where the starter reports the end of a session, it has done it already.
    const swept = !this.#namespaces && life.key !== undefined;
    const members: SignalMembers = swept ? () => Promise.resolve([]) : this.#members(life);
    if (!(await this.#standstill.kill(life, members, KILL_PATIENCE))) {
      this.#options.log.warn({ machine: life.id }, "some processes of a Machine did not end after SIGKILL");
    }
    await this.#standstill.free(life);
    this.#forget(life);
    this.#lastExits.set(life.id, exit);
    life.settle(exit);
    const said = life.stopping || (exit.code ?? 0) === 0 ? [] : lastWords(this.tail(life.id, 30));
    const explained = said.length === 0 ? exit : { ...exit, lastWords: said };
    for (const observer of this.#observers) observer(life.id, life.generation, explained);
  }

  /** For lives that no starter of ours reports. */
  async #watch(life: Life): Promise<void> {
    await watchMain(life, this.#clock, this.#watching);
    if (this.#watching.up) return;
    await this.#finish(life, await recordedExit(life, this.#machineFolder(life.id), this.#clock));
  }

  #starterLost(keys: readonly number[]): void {
    this.#options.log.warn({ machines: keys.length }, "the process that starts Machines was killed");
    for (const key of keys) {
      const life = this.#byKey.get(key);
      if (life === undefined) continue;
      this.#byKey.delete(key);
      life.key = undefined;
      if (!this.#options.outlive) {
        life.stopping = true;
        this.#signalMain(life, "SIGKILL");
      }
      void this.#watch(life);
    }
  }
}
