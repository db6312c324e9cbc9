import { Argument, Option, type Command } from "commander";
import { add, addGroup, addVerb, collect, wholeNumber } from "./command.ts";

/** `flycast machines …` and `flycast scale …`. */
export function addMachineCommands(program: Command): void {
  const scale = addGroup(program, "scale", "Change how many Machines an app has");
  addVerb(scale, "count", "Have this many Machines of a process group", () => import("./scale.ts"), "count")
    .addArgument(new Argument("<count>", "how many").argParser(wholeNumber))
    .option("-a, --app <name>", "app")
    .option("-r, --region <code>", "only in this region")
    .option("--process-group <name>", "process group", "app")
    .option("-y, --yes", "accepted, as scripts write it: nothing is asked");
  addVerb(
    scale,
    "show",
    "Show how many Machines an app has, and of which size",
    () => import("./scale.ts"),
    "show",
  ).option("-a, --app <name>", "app");

  const machines = addGroup(program, "machines", "Manage Machines").alias("machine").alias("m");
  machines.enablePositionalOptions();
  add(machines, "list", "List an app's Machines", () => import("./machines.ts"))
    .alias("ls")
    .option("-a, --app <name>", "app")
    .option("-q, --quiet", "only ids");
  add(
    machines,
    "status <id>",
    "Show one Machine, its checks and its last wake",
    () => import("./machine-status.ts"),
  ).option("-a, --app <name>", "app");
  addRun(machines);
  const verbs = [
    ["start", "Start Machines"],
    ["stop", "Stop Machines: their connections may finish first"],
    ["suspend", "Suspend Machines, memory kept"],
    ["restart", "Restart Machines"],
    ["cordon", "Send Machines no new connections"],
    ["uncordon", "Send Machines connections again"],
    ["destroy", "Destroy Machines"],
  ] as const;
  for (const [verb, text] of verbs) {
    const command = add(machines, `${verb} <ids...>`, text, async () => ({
      run: (await import("./machine-action.ts")).machineAction(verb),
    })).option("-a, --app <name>", "app");
    if (verb === "destroy") command.option("-f, --force", "also those that run");
    if (verb === "stop") command.option("-s, --signal <name>", "signal").option("--timeout <seconds>", "until SIGKILL");
  }
}

function addRun(machines: Command): void {
  add(
    machines,
    "run <command...>",
    "Make a Machine that runs a command: flycast machines run -a web -p 80:8080/tcp:http -- node server.js",
    () => import("./machine-run.ts"),
  )
    .passThroughOptions()
    .option("-a, --app <name>", "app")
    .option("-r, --region <code>", "region")
    .option("-n, --name <name>", "name")
    .option("-e, --env <name=value>", "a variable of its environment; again for more", collect)
    .option("-m, --metadata <name=value>", "metadata; again for more", collect)
    .option("-p, --port <port>", "PORT[:MACHINE_PORT][/tcp[:HANDLER…]]; again for more", collect)
    .addOption(
      new Option("--autostart <bool>", "whether connections start it").choices(["true", "false"]).default("true"),
    )
    .addOption(
      new Option("--autostop <way>", "what becomes of it when it is idle")
        .choices(["off", "stop", "suspend"])
        .default("off"),
    )
    .addOption(new Option("--restart <policy>", "when it ends by itself").choices(["no", "on-failure", "always"]))
    .option("--rm", "destroy it when it ends")
    .option("--folder <dir>", "its working folder, on the node's computer (default: this one)")
    .option("-d, --detach", "do not wait until it has started");
}
