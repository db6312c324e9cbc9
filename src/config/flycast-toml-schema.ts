import { bytes, ms, seconds } from "../core/units.ts";
import {
  cidr,
  endpoint,
  hostPort,
  networkName,
  networkRef,
  orgSlug,
  publishTarget,
  regionCode,
  registry,
  upstream,
} from "./flycast-values.ts";
import { isTable, key, keyOr, keyText, type Infer, type Keys, type Type, type Values } from "./schema.ts";
import { commandLine, decimal, duration, flag, integer, oneOf, printedText, size, text } from "./schema-leaves.ts";
import { either, list, mapOf, mapped, table } from "./schema-tables.ts";

/** The file is ours: an unknown key is a slip, so it is refused. */
function strict<const K extends Keys>(keys: K) {
  return table(keys, { unknown: "error" });
}

/** A section that is there even when the file lacks it, with the default of each key. */
function section<const K extends Keys>(keys: K, doc: string) {
  const defaults = Object.fromEntries(Object.entries(keys).map(([name, item]) => [name, item.default]));
  // Name by name from the table of keys, as `table` itself makes its values.
  return keyOr(strict(keys), defaults as Values<K>, { doc, defaultDoc: "each key's own" });
}

const time = duration("refused");
/** A wait of no time at all would fail everything that waits. */
const wait = duration("refused", { min: ms(1) });
const count = integer({ min: 1 });

/** Allowances: refusals that may be turned into warnings. */
export const ALLOWANCES = ["force_https"] as const;

const node = section(
  {
    region: key(regionCode, { doc: "Region of this node.", defaultDoc: '`"dev"`' }),
    state_dir: key(text, {
      doc: "Folder of the durable state, relative to this file.",
      defaultDoc: "`.flycast` beside this file for `up`, `/var/lib/flycast` for `serve`",
    }),
    registry: keyOr(registry, { kind: "file" }, { doc: "Where the catalogue is kept." }),
    network_mode: keyOr(oneOf(["auto", "lab", "host", "loopback"]), "auto", {
      doc: "Namespaces of its own (`lab`), a node that its host can reach (`host`), or plain loopback ports (`loopback`).",
    }),
    egress: keyOr(oneOf(["auto", "none"]), "auto", {
      doc: "Whether Machines reach the Internet (lab and host mode): docs/egress.md.",
    }),
    api: key(hostPort, { doc: "Where the HTTP API listens.", defaultDoc: "`127.0.0.1:4280` if free, else any port" }),
    trust_proxy_protocol: keyOr(list(cidr), [], { doc: "Sources that must send a PROXY header." }),
    host_networks: key(list(networkRef), {
      doc: "Networks of which the host itself is a client (host mode).",
      defaultDoc: '`["personal/default"]`',
    }),
    trace: keyOr(flag, false, {
      doc: "Give HTTP requests that come without a `traceparent` one of their own, not sampled. One that comes is always passed on as it is.",
    }),
    wireguard: key(hostPort, {
      doc: "Where WireGuard clients are let in, by UDP: an address of this computer, and 51820, the only port that flyctl's files know.",
      defaultDoc: "nowhere",
    }),
    wireguard_endpoint: key(endpoint, {
      doc: "Name or address by which clients reach it.",
      defaultDoc: "the address in `wireguard`",
    }),
  },
  "This node.",
);

const autostop = section(
  {
    interval: keyOr(duration("refused", { min: ms(10) }), seconds(60), { doc: "Time between two passes." }),
    idle: keyOr(time, seconds(300), {
      doc: "How long a Machine must have been without work, and started, to be stopped.",
    }),
  },
  "When Machines are stopped.",
);

const limits = section(
  {
    wake_timeout: keyOr(wait, seconds(60), {
      doc: "From the start of a Machine to its port (and first check) answering.",
    }),
    queue_timeout: keyOr(time, seconds(30), { doc: "Waiting for a slot at the hard limit." }),
    queue_length: keyOr(integer({ min: 0 }), 1000, { doc: "Waiters per service." }),
    connect_timeout: keyOr(wait, seconds(5), { doc: "One attempt to connect to a Machine." }),
    head_timeout: keyOr(wait, seconds(30), { doc: "Request head, PROXY header, TLS handshake, StartupMessage." }),
    keepalive_timeout: keyOr(wait, seconds(75), { doc: "An idle keep-alive connection." }),
    half_closed_timeout: keyOr(wait, seconds(600), {
      doc: "A connection of which one direction has ended. A client that ends its side after a request and reads on (HTTP allows that) keeps its Machine up so long while the answer is silent; one that resets, or closes its HTTP/2 stream, does not.",
    }),
    drain_timeout: keyOr(time, seconds(300), { doc: "How long commands that stop Machines wait for their work." }),
    hold_buffer: keyOr(size({ base: "binary", min: bytes(1024), max: bytes(1024 ** 3) }), bytes(64 * 1024), {
      doc: "Bytes kept of a connection that waits.",
    }),
    replay_memory: keyOr(size({ base: "binary" }), bytes(64 * 1024 * 1024), {
      doc: "Bytes kept of requests that may be replayed.",
    }),
    connections: keyOr(connections(), "auto", {
      doc: "Connections at once. `auto`: RLIMIT_NOFILE − max(512, 10 %).",
    }),
    per_network: keyOr(decimal(0.01, 1), 0.5, {
      doc: "Share of connections, waiters and replay memory that one network may use.",
    }),
    starts: keyOr(count, 8, { doc: "Machines starting at once; half of it for one network." }),
  },
  "Every wait and every buffer has a limit.",
);

function connections(): Type<number | "auto"> {
  const number: Type<number | "auto"> = count;
  return either('a whole number, or "auto"', [
    { accepts: (value) => typeof value === "string", type: oneOf(["auto"]) },
    { accepts: () => true, type: number },
  ]);
}

const dns = section(
  {
    upstreams: keyOr(list(upstream), [], { doc: "Servers for all other names.", defaultDoc: "the system's" }),
    forward: keyOr(mapOf(upstream), new Map(), { doc: 'Exceptions: `{ "google.internal" = "169.254.169.254" }`.' }),
  },
  "Names that are not Flycast's.",
);

const region = strict({
  lat: key(decimal(-90, 90), { doc: "Latitude in degrees." }),
  lon: key(decimal(-180, 180), { doc: "Longitude in degrees." }),
  rtt_ms: keyOr(mapOf(decimal(0, 10_000)), new Map(), { doc: "Round-trip times to other regions, in milliseconds." }),
});

const compat = section(
  {
    allow: keyOr(list(oneOf(ALLOWANCES)), [], { doc: "Warn instead of refusing. See `--allow`." }),
  },
  "For files that also run on the platform.",
);

/** Text, or a list of words. Never empty. */
const command: Type<readonly string[]> = mapped(
  either<readonly string[]>("a command line, or a list of words", [
    { accepts: (value) => typeof value === "string", type: commandLine },
    { accepts: () => true, type: list(text) },
  ]),
  (words, path, context) => {
    if (words.length > 0) return words;
    const message = `${keyText(path)} is empty`;
    context.report({ grade: "error", path, rule: "bad-command", message, remedy: 'write "node server.js"' });
    return undefined;
  },
);

/** One value for all process groups (under the name `""`), or a table of group → value. */
function perGroup<T>(type: Type<T>, label: string, isOne: (value: unknown) => boolean): Type<ReadonlyMap<string, T>> {
  const all = mapped(type, (value) => new Map([["", value]]));
  return either<ReadonlyMap<string, T>>(label, [
    { accepts: isOne, type: all },
    { accepts: () => true, type: mapOf(type) },
  ]);
}

const regionCounts = mapOf(integer({ min: 0, max: 1000 }));

const app = strict({
  path: key(text, {
    doc: "Folder that holds fly.toml (or a file ending in .toml), relative to this file.",
    defaultDoc: "the app's name",
  }),
  org: key(orgSlug, { doc: "Organisation that owns the app.", defaultDoc: '`"personal"`' }),
  network: key(networkName, { doc: "Its network.", defaultDoc: '`"default"`' }),
  machines: key(
    perGroup(
      regionCounts,
      "a table of region → number",
      (value) => isTable(value) && Object.values(value).every((item) => !isTable(item)),
    ),
    {
      doc: "How many Machines each group has: region → number, or group → region → number.",
      defaultDoc: "one in fly.toml's `primary_region`",
    },
  ),
  flycast: key(list(networkRef), {
    doc: "Organisations (or `org/network`) whose clients get an address of the app.",
    defaultDoc: "the app's own network",
  }),
  replay_from: keyOr(list(networkRef), [], {
    doc: "Organisations (or `org/network`) whose apps may send requests on to this one by `fly-replay`, beside those on its own network.",
  }),
  command: key(
    perGroup(command, "a command line, or a table of group → command line", (value) => !isTable(value)),
    {
      doc: "Command of every group, or group → command. Split as a shell would, executed without one.",
      defaultDoc: "`[processes]`, `experimental.cmd` of fly.toml",
    },
  ),
  env: keyOr(mapOf(printedText), new Map(), {
    doc: "Over fly.toml's `[env]`. `${APP.flycast:PORT}` becomes the host:port to dial.",
  }),
  env_file: key(text, {
    doc: "File of `NAME=value` lines: what `fly secrets` would hold. Never logged, never stored.",
  }),
  volumes: key(text, {
    doc: "Folder of `[mounts]`: one folder per Machine and source.",
    defaultDoc: "`volumes` in the state folder",
  }),
  metadata: keyOr(mapOf(printedText), new Map(), { doc: "Metadata of its Machines." }),
  user: key(text, {
    doc: "User that its Machines run as, when Flycast runs as root.",
    defaultDoc: "the owner of the app's folder",
  }),
  publish: keyOr(mapOf(publishTarget), new Map(), {
    doc: "External port → port on this computer (127.0.0.1), or `address:port`.",
    defaultDoc: "any free loopback port",
  }),
  protocol: keyOr(oneOf(["auto", "tcp", "postgres"]), "auto", {
    doc: "`tcp` switches Postgres awareness off, `postgres` on.",
  }),
  idle_sessions: keyOr(oneOf(["keep", "end"]), "keep", {
    doc: "`end`: end idle Postgres sessions so that the Machine may stop.",
  }),
  tls: key(
    strict({
      cert: key(text, { doc: "Certificate chain, PEM, relative to this file. Required." }),
      key: key(text, { doc: "Private key, PEM, relative to this file. Required." }),
    }),
    { doc: "Certificate of the ports with `tls`." },
  ),
});
export type RawApp = Infer<typeof app>;

/** Every key of flycast.toml. Source: Flycast's own contract. */
export const flycastToml = strict({
  node,
  autostop,
  limits,
  dns,
  regions: keyOr(mapOf(region), new Map(), { doc: "Regions that the platform lacks, or distances between regions." }),
  compat,
  apps: keyOr(mapOf(app), new Map(), { doc: "The apps of a workspace, by name." }),
});
export type RawFlycastToml = Infer<typeof flycastToml>;
