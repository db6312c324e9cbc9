import { confirm } from "./ask.ts";
import { EXIT, print } from "./output.ts";

/** Takes back what host mode has put into the computer, Machines included. @errors state_locked */
export async function tearDown(yes: boolean, json: boolean): Promise<number> {
  if (!(await confirm("End all Machines of host mode on this computer and remove its network?", yes))) {
    return EXIT.failed;
  }
  const { tearDownHost } = await import("../network/linux/teardown.ts");
  const { processes, removed } = await tearDownHost();
  // Opening a place of its own removes the groups of Machines that are no more; its own goes at once.
  const { Cgroups } = await import("../machines/drivers/cgroups.ts");
  const groups = await Cgroups.open("teardown");
  if (groups.ok) await groups.value.close();
  if (json) print(JSON.stringify({ processes, removed }));
  else if (removed.length === 0) print("There is nothing of host mode on this computer.");
  else
    print(`Ended ${processes} processes of Machines and removed ${removed.join(", ")}. The state folder is untouched.`);
  return EXIT.done;
}
