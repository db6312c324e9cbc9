import { Argument, Command, Option } from "commander";
import { add, addGroup, addVerb, exitCodeOf, global, wholeNumber } from "./command.ts";
import { addMachineCommands } from "./machine-commands.ts";
import { version } from "./version.ts";

/** The command line. Names, flags and columns are flyctl's where flyctl has the command. */
export function buildProgram(): Command {
  const program = new Command("flycast")
    .description("Private networking with scale to zero for your own machines, from ordinary fly.toml files.")
    .version(version(), "-v, --version")
    .enablePositionalOptions()
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
    .addOption(new Option("--egress <way>", "whether Machines reach the Internet").choices(["auto", "none"]))
    .option("--allow <key...>", "warn of these keys instead of refusing them, such as force_https");
  add(
    program,
    "serve [config]",
    "Run a node as a service: Machines outlive it (Linux, root); see packaging/",
    () => import("./serve.ts"),
  )
    .addOption(
      new Option("--network-mode <mode>", "how Machines are separated (default: host)").choices([
        "auto",
        "host",
        "lab",
        "loopback",
      ]),
    )
    .addOption(new Option("--egress <way>", "whether Machines reach the Internet").choices(["auto", "none"]))
    .option("--allow <key...>", "warn of these keys instead of refusing them, such as force_https")
    .option("--teardown", "end all Machines of host mode and remove its network from this computer")
    .option("-y, --yes", "do not ask");
  add(program, "status", "Show apps, addresses and Machines of a running node", () => import("./status.ts"))
    .option("-a, --app <name>", "only this app")
    .option("--watch", "again at every change, until Ctrl-C");
  add(program, "logs", "Show what Machines printed", () => import("./logs.ts"))
    .option("-a, --app <name>", "only this app")
    .option("-m, --machine <id>", "only this Machine")
    .option("-n, --lines <count>", "how many lines of the past", wholeNumber, "100")
    .option("-f, --follow", "go on with new lines until Ctrl-C");
  add(
    program,
    "why <machine>",
    "Say what keeps a Machine (or an app's Machines) up, or why it stopped, and what happens next",
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
    .option("-o, --org <slug>", "organisation", "personal")
    .option("--network <name>", "network of that organisation", "default")
    .option("--short", "print only the answers")
    .option("--tcp", "ask over TCP");
  add(program, "ca", "Print the authority that signs certificates for .flycast names", () => import("./ca.ts"));
  add(program, "doctor", "Say what works on this computer, and why not", () => import("./doctor.ts"));

  const config = addGroup(program, "config", "Check and show configuration files");
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

  add(
    program,
    "deploy [target]",
    "Create or update the apps of a folder on a running node, one Machine after the other",
    () => import("./deploy.ts"),
  );
  add(
    program,
    "proxy <ports> [host]",
    "Forward a local port to a private one: flycast proxy 15432:5432 db.flycast",
    () => import("./proxy.ts"),
  )
    .option("-o, --org <slug>", "organisation", "personal")
    .option("--network <name>", "network of that organisation", "default")
    .option("-b, --bind-addr <address>", "local address", "127.0.0.1");

  const apps = addGroup(program, "apps", "Manage apps");
  addVerb(apps, "list", "List apps", () => import("./apps.ts"), "list").option(
    "-o, --org <slug>",
    "only this organisation's",
  );
  addVerb(apps, "create [name]", "Create an app", () => import("./apps.ts"), "create")
    .option("-o, --org <slug>", "organisation")
    .option("--network <name>", "network of its Machines, made if it is new");
  addVerb(
    apps,
    "destroy <names...>",
    "Destroy apps with their Machines and addresses",
    () => import("./apps.ts"),
    "destroy",
  ).option("-y, --yes", "do not ask");

  const ips = addGroup(program, "ips", "Manage addresses");
  addVerb(ips, "list", "List an app's addresses", () => import("./ips.ts"), "list").option("-a, --app <name>", "app");
  addVerb(ips, "private", "List the addresses of an app's Machines", () => import("./ips.ts"), "listPrivate").option(
    "-a, --app <name>",
    "app",
  );
  addVerb(ips, "allocate-v6", "Allocate a private address", () => import("./ips.ts"), "allocateV6")
    .option("-a, --app <name>", "app")
    .option("--private", "a Flycast address (the only kind here)")
    .option("-o, --org <slug>", "the organisation whose clients may use it")
    .option("--network <name>", "the network of that organisation");
  addVerb(ips, "release <addresses...>", "Give addresses back", () => import("./ips.ts"), "release").option(
    "-a, --app <name>",
    "app",
  );

  addMachineCommands(program);

  const orgs = addGroup(program, "orgs", "Manage organisations");
  addVerb(orgs, "list", "List organisations and their networks", () => import("./orgs.ts"), "list");
  addVerb(orgs, "create <slug> [name]", "Create an organisation", () => import("./orgs.ts"), "create").option(
    "--user <name>",
    "as whom Machines run that are made through the API (node as root)",
  );
  addVerb(orgs, "update <slug>", "Change an organisation", () => import("./orgs.ts"), "update")
    .option("--user <name>", 'as whom Machines run that are made through the API; "" for nobody')
    .option("--name <name>", "its name");

  const secrets = addGroup(program, "secrets", "Manage the secrets of an app");
  addVerb(secrets, "list", "List names and digests", () => import("./secrets.ts"), "list").option(
    "-a, --app <name>",
    "app",
  );
  addVerb(
    secrets,
    "set <assignments...>",
    "Set secrets: NAME=VALUE, or NAME=- to read the value from standard input",
    () => import("./secrets.ts"),
    "set",
  ).option("-a, --app <name>", "app");
  addVerb(secrets, "unset <names...>", "Take secrets away", () => import("./secrets.ts"), "unset").option(
    "-a, --app <name>",
    "app",
  );

  const wireguard = addGroup(program, "wireguard", "Let laptops into a network by WireGuard").alias("wg");
  addVerb(
    wireguard,
    "create [org] [region] [name] [file]",
    'Add a WireGuard peer and write the file for its client ("stdout" prints it)',
    () => import("./wireguard.ts"),
    "create",
  ).option("--network <name>", "network of that organisation", "default");
  addVerb(wireguard, "list [org]", "List WireGuard peers", () => import("./wireguard.ts"), "list");
  addVerb(
    wireguard,
    "remove [org] [name]",
    "Remove a WireGuard peer: it is cut off at once",
    () => import("./wireguard.ts"),
    "remove",
  ).option("--network <name>", "network of that organisation, where the name alone does not tell");

  const tokens = addGroup(program, "tokens", "Manage API tokens");
  addVerb(tokens, "list", "List tokens", () => import("./tokens.ts"), "list");
  addVerb(
    tokens,
    "create",
    "Create a token for an organisation; it is printed once",
    () => import("./tokens.ts"),
    "create",
  )
    .option("-o, --org <slug>", "organisation", "personal")
    .option("-n, --name <name>", "name", "cli");
  addVerb(tokens, "revoke <ids...>", "Revoke tokens", () => import("./tokens.ts"), "revoke");

  const platform = addGroup(program, "platform", "About the platform");
  add(platform, "regions", "List regions", () => import("./regions.ts"));

  add(program, "version", "Print the version", () => import("./version.ts"));
  add(program, "completion", "Print the completion of a shell: bash, zsh or fish", async () => ({
    run: (await import("./completion.ts")).completion(program),
  })).addArgument(new Argument("<shell>", "whose").choices(["bash", "zsh", "fish"]));
  return program;
}
