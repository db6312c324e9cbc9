import { InvalidArgumentError, type Command, type CommanderError } from "commander";
import { toAppError } from "../core/errors.ts";
import { EXIT, reportError } from "./output.ts";

/** Options that every command takes. */
export interface GlobalOptions {
  readonly json?: boolean;
  readonly api?: string;
  readonly stateDir?: string;
  readonly token?: string;
}

/** What a command's own file exports: everything heavy is loaded only when it runs. */
type Action = (options: GlobalOptions & Record<string, unknown>, args: readonly string[]) => Promise<number>;

/** A command whose file holds several. */
export function addVerb<M extends Record<V, Action>, V extends string>(
  parent: Command,
  usage: string,
  description: string,
  load: () => Promise<M>,
  verb: V,
): Command {
  return add(parent, usage, description, async () => ({ run: (await load())[verb] }));
}

/** A command that only holds others. */
export function addGroup(parent: Command, name: string, description: string): Command {
  const group = parent.command(name).description(description);
  return group.showHelpAfterError(`(flycast ${name} --help lists its commands)`);
}

export function global(command: Command): void {
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
  const words = [command.name()];
  for (let one = parent; one.parent != null; one = one.parent) words.unshift(one.name());
  command.showHelpAfterError(`(flycast ${words.join(" ")} --help says how)`);
  // The program's are its own too, and would be listed a second time.
  command.configureHelp({ showGlobalOptions: false });
  command.action(async () => {
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
  });
  return command;
}

export function exitCodeOf(error: CommanderError): number {
  return error.exitCode === 0 ? EXIT.done : EXIT.usage;
}

/** An argument or option that is a count: wrong usage otherwise. */
export function wholeNumber(text: string): string {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return text;
}

/** For options that may be given several times. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}
