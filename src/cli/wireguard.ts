import { randomBytes } from "node:crypto";
import { hostname, userInfo } from "node:os";
import { createInterface } from "node:readline/promises";
import { AppError } from "../core/errors.ts";
import { generateKeys } from "../network/wireguard/keys.ts";
import { UlidSource } from "../registry/ulid.ts";
import type { WallTime } from "../core/units.ts";
import { ApiClient } from "./client.ts";
import { EXIT, print, printJson } from "./output.ts";
import type { GlobalOptions } from "./command.ts";
import { framedTable } from "./table.ts";
import { checkFileName, clientFile, defaultPeerName, openClientFile, type ClientFile } from "./wireguard-file.ts";

interface PeerJson {
  readonly name: string;
  readonly org: string;
  readonly network: string;
  readonly region: string;
  readonly peer_ip: string;
}

interface CreatedJson extends PeerJson {
  readonly endpoint: { readonly host: string; readonly port: number };
  readonly gateway_public_key: string;
}

type Options = GlobalOptions & { readonly network?: string };

const PERSONAL = "personal";
const NAME = /^[a-zA-Z0-9-]+$/;
/** Longest name of an interface on Linux; `wg-quick` takes it from the name of the file. */
const LONGEST_INTERFACE = 15;

const WARNING = [
  "!!! The file holds a private key, which was made here and is kept nowhere else. !!!",
  "!!! If you lose it, remove the peer and create another.                         !!!",
].join("\n");

/** What is said along the way: beside the file on standard output it would spoil it. */
function say(text: string, options: Options, toStdout: boolean): void {
  if (options.json !== true) (toStdout ? process.stderr : process.stdout).write(`${text}\n`);
}

export async function create(options: Options, args: readonly string[]): Promise<number> {
  const org = args[0] ?? PERSONAL;
  const client = new ApiClient(options);
  const region = args[1] ?? process.env["FLYCTL_WG_REGION"] ?? (await nodeRegion(client));
  const ulid = new UlidSource(randomBytes).next(Date.now() as WallTime);
  const name = args[2] || defaultPeerName(hostname(), `${userInfo().username}@localhost`, ulid);
  if (!NAME.test(name)) {
    throw new AppError("invalid", "name must consist solely of letters, numbers, and the dash character");
  }
  if (args[2] !== undefined && name.length > LONGEST_INTERFACE) {
    process.stderr.write(
      `Warning: "${name}" has more than ${LONGEST_INTERFACE} characters: on Linux give the file a shorter name, for the interface is called after it.\n`,
    );
  }
  const path = args[3] ?? (await askForFile());
  const toStdout = path === "stdout";
  checkFileName(path);

  // Opened before the peer is made: a file that cannot be written must not leave a peer without a key behind.
  const file = toStdout ? undefined : await openClientFile(path);
  try {
    say(`Creating WireGuard peer "${name}" in region "${region}" for organization ${org}`, options, toStdout);
    const keys = generateKeys();
    const made = (await client.post("/flycast/v1/peers", {
      org,
      region,
      name,
      network: options.network,
      public_key: keys.publicKey,
    })) as CreatedJson;
    say(`\n${WARNING}\n`, options, toStdout);
    const content: ClientFile = {
      privateKey: keys.privateKey,
      address: made.peer_ip,
      gatewayKey: made.gateway_public_key,
      endpoint: made.endpoint,
    };
    const text = clientFile(content);
    await file?.write(text);
    if (options.json === true) {
      printJson(toStdout ? { ...made, config: text } : { ...made, file: path });
    } else if (toStdout) {
      process.stdout.write(text);
    } else {
      print(`Wrote WireGuard configuration to ${path}; load in your WireGuard client`);
    }
    return EXIT.done;
  } catch (thrown) {
    await file?.discard();
    throw thrown;
  }
}

export async function list(options: Options, args: readonly string[]): Promise<number> {
  const { peers } = (await new ApiClient(options).get(peersPath(args[0]))) as { peers: readonly PeerJson[] };
  if (options.json === true) printJson(peers);
  else {
    print(
      framedTable(
        ["Name", "Region", "Peer IP"],
        peers.map((peer) => [peer.name, peer.region, peer.peer_ip]),
      ),
    );
  }
  return EXIT.done;
}

export async function remove(options: Options, args: readonly string[]): Promise<number> {
  const org = args[0] ?? PERSONAL;
  const client = new ApiClient(options);
  const name = args[1] ?? (await onlyPeer(client, org));
  if (options.json !== true) print(`Removing WireGuard peer "${name}" for organization ${org}`);
  await client.delete(peersPath(org, name, options.network));
  if (options.json === true) printJson({ removed: name, org });
  else print("Removed peer.");
  return EXIT.done;
}

async function nodeRegion(client: ApiClient): Promise<string> {
  const { region } = (await client.get("/flycast/v1/status")) as { region: string };
  return region;
}

async function onlyPeer(client: ApiClient, org: string): Promise<string> {
  const { peers } = (await client.get(peersPath(org))) as { peers: readonly PeerJson[] };
  const [only, ...more] = peers;
  if (only === undefined) throw new AppError("not_found", `Organization "${org}" does not have any wireguard peers`);
  if (more.length === 0) return only.name;
  throw new AppError("invalid", `Which peer? Organization "${org}" has ${peers.length}.`, {
    details: { next: `flycast wireguard list ${org}` },
  });
}

async function askForFile(): Promise<string> {
  if (process.stdin.isTTY) {
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
      const answer = await terminal.question("Filename to store WireGuard configuration in, or 'stdout': ");
      if (answer.trim() !== "") return answer.trim();
    } finally {
      terminal.close();
    }
  }
  throw new AppError("invalid", "Where to? Name a file for the client's configuration, or stdout.", {
    details: { next: "flycast wireguard create personal dev laptop laptop.conf" },
  });
}

function peersPath(org: string | undefined, name?: string, network?: string): string {
  const query = new URLSearchParams({
    ...(org === undefined ? {} : { org }),
    ...(network === undefined ? {} : { network }),
  });
  return `/flycast/v1/peers${name === undefined ? "" : `/${encodeURIComponent(name)}`}?${query.toString()}`;
}
