import type { AppName } from "../../core/ids.ts";
import type { Machine } from "../../registry/model.ts";
import { Cgroups } from "./cgroups.ts";

/** Holds Machines to the sizes of their `[[vm]]` where the kernel lets us, and tells where it does not. */
export class VmSizes {
  readonly #stateDir: string;
  readonly #tell: (app: AppName, message: string) => void;
  /** Looked for when the first Machine names a size. */
  #groups: ReturnType<typeof Cgroups.open> | undefined;

  /** `tell` is to say each message once. */
  constructor(stateDir: string, tell: (app: AppName, message: string) => void) {
    this.#stateDir = stateDir;
    this.#tell = tell;
  }

  /** After the start, which does not wait for it: moving a process into a group takes the kernel milliseconds. */
  async hold({ id, app, config }: Machine, pid: number): Promise<void> {
    const { guest } = config;
    if (guest.cpus === undefined && guest.memoryMb === undefined) return;
    this.#groups ??= Cgroups.open(this.#stateDir);
    const groups = await this.#groups;
    const why = groups.ok ? await groups.value.join(id, guest, pid).catch(String) : groups.error;
    if (why === undefined) return;
    this.#tell(app, `[[vm]] sizes are told to Machines (FLY_VM_MEMORY_MB) but not enforced: ${why}`);
  }

  /** When nothing of it runs any more. */
  async free(machine: Machine["id"]): Promise<void> {
    const groups = await this.#groups;
    if (groups?.ok === true) await groups.value.leave(machine);
  }

  async close(): Promise<void> {
    const groups = await this.#groups;
    if (groups?.ok === true) await groups.value.close();
  }
}
