import { AppError } from "../core/errors.ts";
import { machineIdFrom, type AppName } from "../core/ids.ts";
import type { Milliseconds } from "../core/units.ts";
import { groupsOf, machineAddress } from "../network/address.ts";
import type { HostId } from "../core/ids.ts";
import type { Machine } from "../registry/model.ts";
import type { ProcessDriver } from "./drivers/process-driver.ts";

export interface ReleaseOptions {
  readonly driver: Pick<ProcessDriver, "runOnce" | "remove">;
  readonly random: (bytes: number) => Uint8Array;
  readonly environment: (machine: Machine) => Promise<Readonly<Record<string, string>>>;
  readonly log: { info(details: object, message: string): void };
}

/** A `release_command`: what runs once, to its end, before Machines of the app start. */
export interface Release {
  readonly command: readonly string[];
  readonly timeout: Milliseconds;
  /** A Machine of the app: the release runs in its network, folder and environment, with RELEASE_COMMAND=1. */
  readonly like: Machine;
}

/**
 * Runs release commands, and holds the app's Machines back meanwhile. A release that failed keeps them back until one succeeds:
 * an app that starts on a half-migrated database does more harm than one that does not start.
 */
export class Releases {
  readonly #options: ReleaseOptions;
  readonly #pending = new Map<AppName, Promise<void>>();

  constructor(options: ReleaseOptions) {
    this.#options = options;
  }

  /**
   * Runs it after any other release of the app. With `hold` the app's Machines wait for its success; without (a deploy over
   * Machines that serve) they go on as they are, whatever becomes of it.
   * @errors PM02 with the last lines that the command printed
   */
  run(release: Release, { hold }: { readonly hold: boolean }): Promise<void> {
    const { app } = release.like;
    if (!hold) return this.#run(release);
    const before = this.#pending.get(app)?.catch(() => undefined) ?? Promise.resolve();
    const running = before.then(() => this.#run(release));
    this.#pending.set(app, running);
    // Who waits is told by `passed`; the promise that is kept must not count as unhandled.
    running.then(
      () => this.#pending.get(app) === running && this.#pending.delete(app),
      () => undefined,
    );
    return running;
  }

  /** Resolves at once unless a release of the app runs or has failed. @errors PM02 */
  async passed(app: AppName): Promise<void> {
    await this.#pending.get(app);
  }

  async #run({ command, timeout, like }: Release): Promise<void> {
    const { driver, random, environment, log } = this.#options;
    const machine: Machine = { ...like, id: machineIdFrom(random(7)), address: addressBeside(like, random) };
    const env = { ...(await environment(machine)), RELEASE_COMMAND: "1" };
    try {
      const { exit, timedOut, tail } = await driver.runOnce(machine, command, env, timeout);
      if (exit.code === 0 && !timedOut) {
        log.info({ app: like.app, command }, "the release command succeeded");
        return;
      }
      const how = timedOut
        ? `did not end within ${timeout / 1000} s`
        : `ended by ${exit.signal ?? `exit code ${exit.code ?? "?"}`}`;
      const last = tail.slice(-3).join(" / ");
      throw new AppError("PM02", `the release command of app "${like.app}" ${how}${last === "" ? "" : `: ${last}`}`);
    } finally {
      await driver.remove(machine.id);
    }
  }
}

/** An address of the same host and network that no Machine has: the part is drawn, 32 bits, and used for minutes. */
function addressBeside(like: Machine, random: (bytes: number) => Uint8Array): Machine["address"] {
  const groups = groupsOf(like.address);
  const host = (groups[3] * 0x1_0000 + groups[4]) as HostId;
  const part = Buffer.from(random(4)).readUInt32BE(0) | 0x1_0000;
  return machineAddress(like.network, host, part >>> 0);
}
