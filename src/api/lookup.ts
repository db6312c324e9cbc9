import { AppError } from "../core/errors.ts";
import { parseAppName, parseMachineId } from "../core/ids.ts";
import type { Result } from "../core/result.ts";
import type { App, Machine } from "../registry/model.ts";
import type { RegistryView } from "../registry/view.ts";
import type { Principal } from "./tokens.ts";

export function valid<T>(result: Result<T, string>): T {
  if (!result.ok) throw new AppError("invalid", result.error);
  return result.value;
}

export function maySee(principal: Principal, app: App): boolean {
  return principal.kind === "node" || principal.org === app.org;
}

/** @errors not_found, also for apps of other organisations: whether they exist is theirs to know. */
export function findApp(view: RegistryView, principal: Principal, name: string): App {
  const parsed = parseAppName(name);
  const app = parsed.ok ? view.app(parsed.value) : undefined;
  if (app === undefined || !maySee(principal, app)) {
    throw new AppError("not_found", `Could not find App "${name}"`, { details: { next: "flycast apps list" } });
  }
  return app;
}

/** @errors not_found */
export function findMachine(view: RegistryView, principal: Principal, id: string, app?: App): Machine {
  const parsed = parseMachineId(id);
  const machine = parsed.ok ? view.machine(parsed.value) : undefined;
  const owner = machine === undefined ? undefined : view.app(machine.app);
  if (
    machine === undefined ||
    owner === undefined ||
    !maySee(principal, owner) ||
    (app !== undefined && owner.name !== app.name)
  ) {
    throw new AppError("not_found", `Machine ${JSON.stringify(id)} was not found`, {
      details: { next: "flycast machines list" },
    });
  }
  return machine;
}
