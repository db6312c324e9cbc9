import { Command, Option, type CommanderError } from "commander";
import { toAppError } from "../core/errors.ts";
import { EXIT, reportError } from "./output.ts";
import { version } from "./version.ts";

/** Options that every command takes. */
export interface GlobalOptions {
  readonly json?: boolean;
  readonly api?: string;
  readonly stateDir?: string;
  readonly token?: string;
}

/** What a command's own file exports: everything heavy is loaded only when it runs. */
type Action = (options: GlobalOptions & Record<string, unknown>, args: readonly string[]) => Promise<number>;

/** The command line. Names, flags and columns are flyctl's where flyctl has the command. */
export function buildProgram(): Command {
  const program = new Command("flycast")
    .description("Private networking with scale to zero for your own machines, from ordinary fly.toml files.")
    .version(version(), "-v, --version")
    .showSuggestionAfterError(true)
    .showHelpAfterError("(flycast --help lists the commands)")
    .configureHelp({ sortSubcommands: false, showGlobalOptions: true });
  global(program);
  program.exitOverride((error) => process.exit(exitCodeOf(error)));

  add(
    program,
    "up [target]",
    "Run a workspace: a folder or flycast.toml, in the foreground until Ctrl-C",
    () => import("./up.ts"),
  )
    .addOption(new Option("--network-mode <mode>", "how Machines are separated").choices(["auto", "lab", "loopback"]))
    .option("--allow <key...>", "warn of these keys instead of refusing them, such as force_https");
  add(program, "status", "Show apps, addresses and Machines of a running node", () => import("./status.ts"))
    .option("-a, --app <name>", "only this app")
    .option("--watch", "again at every change, until Ctrl-C");
  add(program, "logs", "Show what Machines printed", () => import("./logs.ts"))
    .option("-a, --app <name>", "only this app")
    .option("-m, --machine <id>", "only this Machine")
    .option("-n, --lines <count>", "how many lines of the past", "100")
    .option("-f, --follow", "go on with new lines until Ctrl-C");
  add(
    program,
    "why <machine>",
    "Say what keeps a Machine up, or why it stopped, and what happens next",
    () => import("./why.ts"),
  );
  add(
    program,
    "exec [command...]",
    "Run a command as a client of a network: flycast exec -- curl http://web.flycast",
    () => import("./exec.ts"),
  )
    .option("-o, --org <slug>", "organisation", "personal")
    .option("--network <name>", "network of that organisation", "default")
    .passThroughOptions();
  add(program, "dig <name> [type] [server]", "Ask the node's DNS: AAAA (default) or TXT", () => import("./dig.ts"))
    .option("--short", "print only the answers")
    .option("--tcp", "ask over TCP");
  add(program, "doctor", "Say what works on this computer, and why not", () => import("./doctor.ts"));

  const config = program.command("config").description("Check and show configuration files");
  add(config, "validate [paths...]", "Check fly.toml and flycast.toml files", () => import("./config-validate.ts"))
    .option("--strict", "refuse warnings too")
    .option("--allow <key...>", "warn of these keys instead of refusing them, such as force_https");
  add(
    config,
    "show [path]",
    "Print a configuration as it is understood, defaults filled in",
    () => import("./config-show.ts"),
  ).option("--allow <key...>", "warn of these keys instead of refusing them, such as force_https");
  add(
    config,
    "schema [which]",
    "Print the JSON Schema of fly.toml (default) or flycast.toml",
    () => import("./config-schema.ts"),
  );
  program.enablePositionalOptions();
  return program;
}

function global(command: Command): void {
  command
    .option("--json", "print JSON")
    .option("--api <url>", "the node's API (FLYCAST_API)")
    .option("--state-dir <dir>", "the node's state folder (FLYCAST_STATE_DIR)")
    .option("-t, --token <token>", "token for the API (FLYCAST_TOKEN)");
}

/** Adds a command whose body is in a file of its own. */
export function add(
  parent: Command,
  usage: string,
  description: string,
  load: () => Promise<{ run: Action }>,
): Command {
  const command = parent.command(usage).description(description);
  global(command);
  command.action(async (...received: unknown[]) => {
    const options = command.optsWithGlobals<GlobalOptions & Record<string, unknown>>();
    try {
      const { run } = await load();
      const code = await run(options, command.args);
      // Not process.exit(): what was written to a pipe must arrive first.
      process.exitCode = code;
    } catch (thrown) {
      const error = toAppError(thrown);
      reportError(error, options.json === true);
      if (error.code === "internal" && process.env["FLYCAST_DEBUG"] !== undefined) console.error(thrown);
      process.exitCode = EXIT.failed;
    }
    void received;
  });
  return command;
}

function exitCodeOf(error: CommanderError): number {
  return error.exitCode === 0 ? EXIT.done : EXIT.usage;
}
