import { formatProblems } from "../config/format-problem.ts";
import { loadWorkspace } from "../config/load.ts";
import type { NodeConfig, Workspace, WorkspaceApp } from "../config/model.ts";
import { AppError, toAppError } from "../core/errors.ts";
import type { MachineId } from "../core/ids.ts";
import type { Machines } from "../machines/machines.ts";
import type { Release, Releases } from "../machines/release.ts";
import type { Registry } from "../registry/commands.ts";
import type { Machine } from "../registry/model.ts";
import { applyWorkspace, type MachineControl } from "./apply-workspace.ts";
import type { SystemEvent } from "./events.ts";
import { machineConfig } from "./machine-config.ts";
import { refuseRestartOnly, restartIfRunning } from "./machine-rules.ts";

export interface RunningWorkspaceOptions {
  readonly registry: Registry;
  readonly machines: Machines;
  readonly releases: Releases;
  /** Opens and closes what the catalogue now asks for: routes, listeners, published ports. */
  readonly follow: () => Promise<void>;
  /** Settings of the node that change while it runs. */
  readonly reload: (node: NodeConfig) => void;
  readonly emit: (event: SystemEvent) => void;
  /** Host mode: Machines outlive the node, so a start of the node is no release of what it already ran. */
  readonly outlive: boolean;
}

/** What the files say, what was deployed, and the way from one to the next. One change at a time. */
export class RunningWorkspace {
  #current: Workspace;
  #options: RunningWorkspaceOptions | undefined;
  /** Apps that the files have changed since the last life of the node. */
  #changed: readonly string[] = [];
  #changing: Promise<unknown> = Promise.resolve();

  constructor(workspace: Workspace) {
    this.#current = workspace;
  }

  get current(): Workspace {
    return this.#current;
  }

  /** Makes the catalogue say what the files say; starts nothing yet. @errors conflict */
  async begin(options: RunningWorkspaceOptions): Promise<void> {
    this.#options = options;
    const { file, apps } = this.#current;
    // Without files there is nobody who would want the Machines of earlier files gone.
    if (file !== undefined || apps.length > 0) {
      const { changed } = await applyWorkspace(options.registry, this.#control(), this.#current, undefined);
      this.#changed = changed;
    }
    await options.follow();
  }

  /** Starts what should run, release commands first. */
  async start(): Promise<void> {
    const { apps } = this.#current;
    this.#releaseFirst(this.#parts.outlive ? apps.filter(({ name }) => this.#changed.includes(name)) : apps);
    await this.#parts.machines.up();
  }

  /** The files have changed. All or nothing. @returns names of the apps that changed @errors conflict, and whatever refuses it */
  apply(next: Workspace): Promise<readonly string[]> {
    return this.#oneByOne(async () => {
      const { registry, machines, follow, reload } = this.#parts;
      const previous = this.#current;
      refuseRestartOnly(previous.node, next.node);
      this.#current = next;
      try {
        const { changed } = await applyWorkspace(registry, this.#control(), next, previous);
        reload(next.node);
        await follow();
        await machines.up();
        return changed;
      } catch (thrown) {
        this.#current = previous;
        throw thrown;
      }
    });
  }

  /**
   * Loads a folder or file of this computer and makes its apps so, one Machine after the other. Release commands come first; when
   * one fails, Machines that serve go on as they are.
   * @errors config_invalid with every problem, PM02
   */
  deploy(path: string): Promise<readonly string[]> {
    return this.#oneByOne(async () => {
      const { registry, machines, releases, follow } = this.#parts;
      const { view } = registry;
      const allow = this.#current.node.compatAllow;
      const { workspace: loaded, problems, sources } = await loadWorkspace(path, { cwd: path, allow });
      if (loaded === undefined) {
        const list = formatProblems(problems, { color: false, sources }).trimEnd();
        throw new AppError("config_invalid", `${path} cannot be deployed:\n\n${list}`);
      }
      for (const app of loaded.apps) {
        const running = view.machinesOf(app.name)[0];
        const group = app.config.groups.find(({ name }) => name === app.config.defaultGroup);
        if (app.config.releaseCommand === undefined || running === undefined || group === undefined) continue;
        const like = { ...running, config: machineConfig(app, group, "deploy") };
        await releases.run(releaseOf(app, like), { hold: false });
      }
      const fresh = loaded.apps.filter(({ name }) => view.machinesOf(name).length === 0);
      const apps = new Map([...this.#current.apps, ...loaded.apps].map((app) => [app.name, app]));
      this.#current = { ...this.#current, apps: [...apps.values()] };
      const { changed } = await applyWorkspace(registry, this.#control(), loaded, undefined, "deploy");
      await follow();
      this.#releaseFirst(fresh);
      await machines.up();
      return changed;
    });
  }

  /** Release commands begin at once; the Machines of their apps wait for them. */
  #releaseFirst(apps: readonly WorkspaceApp[]): void {
    const { registry, releases, emit } = this.#parts;
    for (const app of apps) {
      const like = registry.view.machinesOf(app.name)[0];
      if (app.config.releaseCommand === undefined || like === undefined) continue;
      emit({ event: "release", app: app.name, command: app.config.releaseCommand });
      releases.run(releaseOf(app, like), { hold: true }).catch((thrown: unknown) => {
        const error = toAppError(thrown);
        emit({ event: "problem", app: app.name, code: error.code, message: error.message });
      });
    }
  }

  #control(): MachineControl {
    const { registry, machines } = this.#parts;
    return {
      destroy: (id: MachineId, how) => machines.destroy(id, how),
      restartIfRunning: (id: MachineId, because) => restartIfRunning(registry.view, machines, id, because),
    };
  }

  get #parts(): RunningWorkspaceOptions {
    if (this.#options === undefined) throw new AppError("conflict", "the node is still starting");
    return this.#options;
  }

  #oneByOne<T>(change: () => Promise<T>): Promise<T> {
    const next = this.#changing.then(change);
    this.#changing = next.catch(() => undefined);
    return next;
  }
}

function releaseOf({ config }: WorkspaceApp, like: Machine): Release {
  return { command: config.releaseCommand ?? [], timeout: config.releaseCommandTimeout, like };
}
