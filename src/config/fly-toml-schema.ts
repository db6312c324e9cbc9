import type { TomlValue } from "smol-toml";
import { machineChecks, topLevelChecks } from "./fly-toml-checks.ts";
import { httpService, services } from "./fly-toml-services.ts";
import { key, keyOr, keyText, type Infer, type Type } from "./schema.ts";
import {
  anything,
  commandLine,
  decimal,
  duration,
  filledText,
  flag,
  integer,
  oneOf,
  orAbsent,
  printedText,
  size,
  text,
} from "./schema-leaves.ts";
import { list, mapOf, table } from "./schema-tables.ts";

const DOCS = "superfly/docs `reference/configuration`, 2026-08-07";
const CODE = "superfly/flyctl `internal/appconfig`, 2026-08-21";
const GB = 1e9;
const MIB = 1024 * 1024;

const processNames = keyOr(list(text), [], {
  doc: "Process groups that it applies to.",
  defaultDoc: "the default group",
});

/** `[env]`, or the old `[[env]]`: a list of tables that are merged. */
const envMap = mapOf(printedText);
const env: Type<ReadonlyMap<string, string>> = {
  ...envMap,
  read(value: TomlValue, path, context) {
    if (!Array.isArray(value)) return envMap.read(value, path, context);
    const merged = new Map<string, string>();
    value.forEach((item, i) => {
      for (const [name, entry] of envMap.read(item, [...path, i], context) ?? []) merged.set(name, entry);
    });
    return merged;
  },
};

export interface RawProcess {
  readonly command: readonly string[];
}

/** A group whose command was refused still exists: others may name it. */
const command: Type<RawProcess> = {
  ...commandLine,
  read(value, path, context) {
    const process = { command: commandLine.read(value, path, context) ?? [] };
    context.origins.set(process, path);
    return process;
  },
};
const processMap = mapOf(command);
const processItem = table({
  name: key(text, { doc: "Name of the group." }),
  command: key(command, { doc: "Its command." }),
});
const processList = list(processItem);

/** `[processes]`, or the old `[[processes]]` with `name` and `command`. */
const processes: Type<ReadonlyMap<string, RawProcess>> = {
  label: "a table of command lines",
  json: { anyOf: [processMap.json, processList.json] },
  read(value: TomlValue, path, context) {
    if (!Array.isArray(value)) return processMap.read(value, path, context);
    const named = new Map<string, RawProcess>();
    for (const item of processList.read(value, path, context) ?? []) {
      const at = context.origins.get(item) ?? path;
      if (item.name !== undefined) {
        const process: RawProcess = { command: item.command?.command ?? [] };
        context.origins.set(process, at);
        named.set(item.name, process);
      } else if (item.command !== undefined) {
        const message = `${keyText(at)} has no name`;
        context.report({
          grade: "error",
          path: at,
          rule: "missing-key",
          message,
          remedy: "write it under [processes]",
        });
      }
    }
    return named;
  },
};

/** Text (one word, which the platform does not split) or a list of words. */
const words: Type<readonly string[]> = {
  label: "text or a list of text",
  json: { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] },
  read: (value, path, context) => list(text, { single: true }).read(value, path, context),
};

const percent = (min: number, max: number) => integer({ min, max });

const mount = table(
  {
    source: key(filledText, { doc: "Name of the volume.", defaultDoc: "`data`" }),
    destination: key(filledText, { doc: "Absolute path at which the Machine sees it. Required." }),
    initial_size: key(size({ base: "decimal", unit: GB, number: true }), {
      doc: "Refused below 1 GB; otherwise without meaning here.",
    }),
    snapshot_retention: key(percent(1, 60), { doc: "Days; without meaning here." }),
    scheduled_snapshots: key(flag, { doc: "Without meaning here." }),
    auto_extend_size_threshold: key(percent(50, 99), { doc: "Percent; without meaning here." }),
    auto_extend_size_increment: key(size({ base: "decimal", unit: GB, number: true }), {
      doc: "1 to 100 GB; without meaning here.",
    }),
    auto_extend_size_limit: key(size({ base: "decimal", unit: GB, number: true }), {
      doc: "1 to 500 GB; without meaning here.",
    }),
    processes: processNames,
  },
  { source: DOCS },
);
export type RawMount = Infer<typeof mount>;

const vm = table(
  {
    size: key(filledText, { doc: "Preset such as `shared-cpu-1x`: its CPUs and memory." }),
    memory: key(size({ base: "binary", unit: MIB, number: true }), { doc: "Memory; a bare number counts MiB." }),
    memory_mb: key(integer({ min: 0, cast: false }), { doc: "Memory in MiB." }),
    cpus: key(integer({ min: 0 }), { doc: "Number of CPUs." }),
    cpu_kind: key(text, { doc: "`shared` or `performance`.", noMeaning: "CPUs are those of the host" }),
    max_memory_mb: key(integer({ min: 0 }), { doc: "MiB.", noMeaning: "memory is the host's" }),
    gpus: key(integer({ min: 0 }), { doc: "Number of GPUs.", noMeaning: "Machines see the host's devices" }),
    gpu_kind: key(text, { doc: "Model of GPU.", noMeaning: "Machines see the host's devices" }),
    host_dedication_id: key(text, { doc: "Dedicated hosts.", noMeaning: "the host is yours" }),
    kernel_args: key(list(text), { doc: "Arguments of the kernel.", noMeaning: "Machines share the host's kernel" }),
    persist_rootfs: key(anything, {
      doc: "Whether changes outside volumes are kept.",
      noMeaning: "files stay where they are",
    }),
    processes: keyOr(list(text), [], { doc: "Process groups that it applies to.", defaultDoc: "every group" }),
  },
  { source: DOCS },
);
export type RawVm = Infer<typeof vm>;

const restart = table(
  {
    policy: key(oneOf(["always", "never", "on-failure"]), { doc: "When a Machine that ended is started again." }),
    retries: key(integer({ min: 0 }), { doc: "How often, with `on-failure`.", defaultDoc: "`10`" }),
    processes: processNames,
  },
  { source: DOCS },
);
export type RawRestart = Infer<typeof restart>;

const file = table(
  {
    guest_path: key(filledText, { doc: "Absolute path of the file in the Machine. Required." }),
    local_path: key(filledText, { doc: "File whose content it gets, relative to fly.toml." }),
    secret_name: key(filledText, { doc: "Secret whose value, base64, is its content." }),
    raw_value: key(text, { doc: "Its content, base64." }),
    processes: processNames,
  },
  { source: DOCS },
);
export type RawFile = Infer<typeof file>;

const deploy = table(
  {
    strategy: keyOr(orAbsent(oneOf(["canary", "rolling", "immediate", "bluegreen"])), "rolling", {
      doc: "How Machines are replaced.",
    }),
    release_command: key(commandLine, { doc: "Run once, before the first start in `up` and in every `deploy`." }),
    release_command_timeout: key(duration("nanoseconds"), { doc: "Time that it may take.", defaultDoc: '`"5m"`' }),
    max_unavailable: key(decimal(0, Number.MAX_VALUE), {
      doc: "Share (below 1) or number.",
      noMeaning: "a deploy replaces one Machine at a time",
    }),
    wait_timeout: key(duration("nanoseconds"), {
      doc: "Time for Machines to settle.",
      noMeaning: "limits.wake_timeout of flycast.toml counts",
    }),
    release_command_vm: key(anything, { doc: "Size of its Machine.", noMeaning: "it runs on the host" }),
    seed_command: key(text, { doc: "Run after the first deploy.", noMeaning: "run it yourself" }),
  },
  { source: DOCS },
);

const experimental = table(
  {
    cmd: key(words, { doc: "Words of the command." }),
    entrypoint: key(words, { doc: "Words before the command." }),
    exec: key(words, { doc: "Words that replace entrypoint and command." }),
    kill_timeout: key(duration("seconds", { emptyIsAbsent: true }), { doc: "Old place of the top-level key." }),
    auto_rollback: key(flag, { doc: "Undo a failed deploy.", noMeaning: "a failed deploy changes nothing" }),
    enable_consul: key(flag, { doc: "A Consul of the platform.", noMeaning: "there is no Consul" }),
    enable_etcd: key(flag, { doc: "An etcd of the platform.", noMeaning: "there is no etcd" }),
    lazy_load_images: key(flag, { doc: "How images load.", noMeaning: "there are no images" }),
    attached: key(anything, { doc: "Secrets of extensions.", noMeaning: "there are no extensions" }),
    machine_config: key(anything, { doc: "Raw Machine config.", noMeaning: "write it in fly.toml" }),
    metrics_port: key(anything, { doc: "Old place of `[metrics]`.", noMeaning: "nothing collects an app's metrics" }),
    metrics_path: key(anything, { doc: "Old place of `[metrics]`.", noMeaning: "nothing collects an app's metrics" }),
  },
  {
    source: CODE,
    retired: {
      allowed_public_ports: { grade: "note", why: "the platform ignores it too" },
      private_network: { grade: "note", why: "every app is on a private network" },
    },
  },
);

const KILL_SIGNALS = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGSTOP"] as const;
const NO_IMAGE = "Flycast runs commands, it builds no images";
const METRICS = "nothing collects an app's metrics";

/** Every key of fly.toml. Source: superfly/docs reference/configuration (2026-08-07); superfly/flyctl internal/appconfig. */
export const flyToml = table(
  {
    app: key(filledText, { doc: "Name of the app: lower-case letters, digits and dashes." }),
    primary_region: key(filledText, {
      doc: "Region of the first Machines and of `min_machines_running`.",
      defaultDoc: "the node's",
    }),
    kill_signal: keyOr(orAbsent(oneOf(KILL_SIGNALS)), "SIGINT", { doc: "Sent to the main process to stop it." }),
    kill_timeout: key(duration("seconds", { emptyIsAbsent: true }), {
      doc: "Time until SIGKILL; at most 5 minutes.",
      defaultDoc: '`"5s"`',
    }),
    env: keyOr(env, new Map(), { doc: "Environment of every Machine. Names may not begin with `FLY_`." }),
    processes: keyOr(processes, new Map(), {
      doc: "Process groups: name → command line.",
      defaultDoc: "one group, `app`",
    }),
    http_service: key(httpService, { doc: "A web app on ports 80 and 443." }),
    services: keyOr(services, [], { doc: "Services, each with one internal port." }),
    checks: keyOr(topLevelChecks, new Map(), { doc: "Checks that are shown and do not steer traffic." }),
    mounts: keyOr(list(mount, { single: true }), [], { doc: "Folders that outlive the Machine.", aliases: ["mount"] }),
    vm: keyOr(list(vm, { single: true }), [], { doc: "Size of Machines.", aliases: ["compute", "computes"] }),
    restart: keyOr(list(restart, { single: true }), [], { doc: "What happens when the main process ends." }),
    files: keyOr(list(file, { single: true }), [], { doc: "Files that are put into Machines." }),
    deploy: key(deploy, { doc: "How new versions start." }),
    experimental: key(experimental, { doc: "The command, where the image names none." }),
    build: key(anything, { doc: "How the image is built.", noMeaning: NO_IMAGE }),
    statics: key(anything, { doc: "Files that the platform's edge serves.", noMeaning: "serve them from the app" }),
    metrics: key(anything, { doc: "Where metrics are.", noMeaning: METRICS, aliases: ["metric"] }),
    machine_checks: machineChecks,
    swap_size_mb: key(integer({ min: 0 }), { doc: "Swap in MiB; rules out suspend.", noMeaning: "swap is the host's" }),
    console_command: key(commandLine, { doc: "What `fly console` runs.", noMeaning: "use `flycast exec`" }),
    host_dedication_id: key(text, { doc: "Dedicated hosts.", noMeaning: "the host is yours" }),
    machine_config: key(anything, { doc: "Raw config of containers.", noMeaning: "a Machine runs one command" }),
    container: key(text, { doc: "Which container is the app.", noMeaning: "a Machine runs one command" }),
  },
  {
    source: DOCS,
    retired: {
      machines: { grade: "warning", why: "how many Machines there are stands in flycast.toml" },
      scale: { grade: "warning", why: "how many Machines there are stands in flycast.toml" },
      http: { grade: "warning", why: "the section is [http_service]" },
      redis: { grade: "warning", why: "there is no Redis of the platform" },
    },
  },
);
export type RawFlyToml = Infer<typeof flyToml>;
