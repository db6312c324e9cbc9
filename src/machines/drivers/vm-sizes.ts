import type { Guest } from "../../config/model.ts";
import type { Controller } from "./cgroup-tree.ts";

/**
 * What is to be said of a `[[vm]]` size that the kernel does not hold a Machine to. `how`: what its group can be limited in, or
 * why it has none.
 */
export function unenforced(
  guest: Guest,
  how: { readonly controllers: readonly Controller[]; readonly where: string } | string,
): string | undefined {
  const wanted: readonly (Controller | undefined)[] = [
    guest.cpus === undefined ? undefined : "cpu",
    guest.memoryMb === undefined ? undefined : "memory",
  ];
  const names = wanted.filter((name) => name !== undefined);
  const lacking = typeof how === "string" ? names : names.filter((name) => !how.controllers.includes(name));
  if (lacking.length === 0) return undefined;
  const what = lacking.join(" and ");
  const why = typeof how === "string" ? how : `cgroup v2 has no controller for ${what} in ${how.where}`;
  return `[[vm]] sizes are told to Machines (FLY_VM_MEMORY_MB), but ${what} ${lacking.length > 1 ? "are" : "is"} not enforced: ${why}`;
}
