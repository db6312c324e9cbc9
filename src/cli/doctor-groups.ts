import { Cgroups } from "../machines/drivers/cgroups.ts";

interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly remedy?: string;
}

/** How a node that this user starts would suspend Machines, and whether it could hold them to their sizes. */
export async function controlGroups(): Promise<Finding> {
  const what = "control groups";
  const groups = await Cgroups.open(`doctor ${process.pid}`);
  if (!groups.ok) {
    const detail = `Machines are suspended by SIGSTOP, and [[vm]] sizes are advice: ${groups.error}`;
    return { what, ok: false, detail, remedy: "Everything works all the same." };
  }
  const { where, controllers } = groups.value;
  await groups.value.close();
  const sizes =
    controllers.length === 0 ? "[[vm]] sizes are advice" : `[[vm]] sizes hold for ${controllers.join(" and ")}`;
  return { what, ok: true, detail: `Machines are suspended by the freezer in ${where}; ${sizes}` };
}
