/** The shapes of the platform's Machines API (reference §10.3), as zod schemas: they check input and make the OpenAPI description. */
import { z } from "@hono/zod-openapi";

/** A Go duration (`"15s"`) or a whole number of nanoseconds. */
const duration = z.union([z.string().max(32), z.number().int().nonnegative()]);
const port = z.number().int().min(1).max(65_535);

const machinePort = z.looseObject({
  port: port.optional(),
  start_port: z.number().int().min(0).max(65_535).optional(),
  end_port: z.number().int().min(0).max(65_535).optional(),
  handlers: z.array(z.string().max(32)).max(8).nullish(),
  force_https: z.boolean().optional(),
  tls_options: z
    .looseObject({
      alpn: z.array(z.string().max(64)).max(16).nullish(),
      versions: z.array(z.string().max(16)).max(8).nullish(),
      default_self_signed: z.boolean().nullish(),
    })
    .nullish(),
  http_options: z.looseObject({}).nullish(),
  proxy_proto_options: z.looseObject({ version: z.string().max(8).nullish() }).nullish(),
});

const check = z.looseObject({
  type: z.string().max(16).nullish(),
  port: port.nullish(),
  interval: duration.nullish(),
  timeout: duration.nullish(),
  grace_period: duration.nullish(),
  method: z.string().max(16).nullish(),
  path: z.string().max(4096).nullish(),
  protocol: z.string().max(8).nullish(),
  tls_skip_verify: z.boolean().nullish(),
  tls_server_name: z.string().max(253).nullish(),
  headers: z
    .array(z.looseObject({ name: z.string().max(256), values: z.array(z.string().max(8192)).max(16) }))
    .max(64)
    .nullish(),
});

const service = z.looseObject({
  protocol: z.string().max(8).optional(),
  internal_port: port,
  autostop: z.union([z.boolean(), z.enum(["off", "stop", "suspend"])]).nullish(),
  autostart: z.boolean().nullish(),
  min_machines_running: z.number().int().min(0).max(10_000).nullish(),
  ports: z.array(machinePort).max(1024).nullish(),
  checks: z.array(check).max(64).nullish(),
  concurrency: z
    .looseObject({
      type: z.enum(["connections", "requests"]).nullish(),
      soft_limit: z.number().int().min(0).nullish(),
      hard_limit: z.number().int().min(0).nullish(),
    })
    .nullish(),
});

const text = z.string().max(65_536);

/** Fields without meaning here are kept and given back: that is what the loose objects are for. */
export const machineConfigSchema = z
  .looseObject({
    image: z.string().max(1024).optional(),
    env: z.record(z.string().max(256), text).nullish(),
    init: z
      .looseObject({
        exec: z.array(text).max(256).nullish(),
        entrypoint: z.array(text).max(256).nullish(),
        cmd: z.array(text).max(256).nullish(),
        tty: z.boolean().nullish(),
      })
      .nullish(),
    guest: z
      .looseObject({
        cpus: z.number().int().min(1).max(1024).nullish(),
        memory_mb: z.number().int().min(1).max(16_777_216).nullish(),
      })
      .nullish(),
    metadata: z.record(z.string().max(256), z.string().max(4096)).nullish(),
    services: z.array(service).max(64).nullish(),
    checks: z.record(z.string().max(128), check).nullish(),
    restart: z
      .looseObject({
        policy: z.enum(["no", "always", "on-failure", "never", "spot-price"]).nullish(),
        max_retries: z.number().int().min(0).nullish(),
      })
      .nullish(),
    stop_config: z.looseObject({ timeout: duration.nullish(), signal: z.string().max(16).nullish() }).nullish(),
    dns: z.looseObject({ skip_registration: z.boolean().nullish() }).nullish(),
    auto_destroy: z.boolean().nullish(),
    disable_machine_autostart: z.boolean().nullish(),
    files: z
      .array(
        z.looseObject({
          guest_path: z.string().max(4096),
          raw_value: z.string().max(1_048_576).nullish(),
          secret_name: z.string().max(256).nullish(),
        }),
      )
      .max(64)
      .nullish(),
    mounts: z
      .array(
        z.looseObject({
          path: z.string().max(4096).nullish(),
          volume: z.string().max(256).nullish(),
          name: z.string().max(256).nullish(),
        }),
      )
      .max(16)
      .nullish(),
    processes: z
      .array(
        z.looseObject({
          cmd: z.array(text).nullish(),
          entrypoint: z.array(text).nullish(),
          exec: z.array(text).nullish(),
        }),
      )
      .max(16)
      .nullish(),
  })
  .openapi("MachineConfig");

export type PlatformConfig = z.infer<typeof machineConfigSchema>;
export type PlatformService = z.infer<typeof service>;
export type PlatformCheck = z.infer<typeof check>;
export type PlatformPort = z.infer<typeof machinePort>;

export const launchSchema = z
  .looseObject({
    config: machineConfigSchema.optional(),
    name: z.string().max(128).nullish(),
    region: z.string().max(16).nullish(),
    skip_launch: z.boolean().nullish(),
    skip_service_registration: z.boolean().nullish(),
    lease_ttl: z.number().int().min(0).nullish(),
    current_version: z.string().max(64).nullish(),
  })
  .openapi("LaunchInput");

export const machineEventSchema = z
  .object({
    id: z.string(),
    type: z.string(),
    status: z.string(),
    source: z.string(),
    /** Milliseconds since the epoch. */
    timestamp: z.number().int(),
    request: z.looseObject({}).optional(),
  })
  .openapi("MachineEvent");

const summaryFields = {
  id: z.string().regex(/^[0-9a-f]{14}$/),
  name: z.string(),
  state: z.string(),
  region: z.string(),
  image_ref: z.object({
    registry: z.string(),
    repository: z.string(),
    tag: z.string(),
    digest: z.string(),
    labels: z.record(z.string(), z.string()),
  }),
  instance_id: z.string(),
  version: z.string(),
  private_ip: z.string(),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
  cordoned: z.boolean(),
};

const machineFields = {
  config: z.looseObject({ metadata: z.record(z.string(), z.string()) }),
  events: z.array(machineEventSchema),
  checks: z.array(
    z.object({
      name: z.string(),
      status: z.enum(["passing", "warning", "critical"]),
      output: z.string(),
      updated_at: z.iso.datetime(),
    }),
  ),
  /** Only in the answer of whoever took the lease with the same call. */
  nonce: z.string().optional(),
  /** Who holds its lease. */
  lease: z.object({ owner: z.string(), description: z.string(), expires_at: z.number().int() }).optional(),
  host_status: z.literal("ok"),
};

export const machineSchema = z.object({ ...summaryFields, ...machineFields }).openapi("Machine");
/** A Machine in a list: with `?summary=true` without its config, events, checks and host. */
export const listedMachineSchema = z
  .object({ ...summaryFields, ...z.object(machineFields).partial().shape })
  .openapi("ListedMachine");
export type MachineJson = z.infer<typeof machineSchema>;
export type MachineSummaryJson = z.infer<z.ZodObject<typeof summaryFields>>;

export const appSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    internal_numeric_id: z.number().int(),
    network: z.string(),
    network_cidr: z.string(),
    status: z.string(),
    machine_count: z.number().int(),
    volume_count: z.number().int(),
    organization: z.object({ name: z.string(), slug: z.string(), internal_numeric_id: z.number().int() }),
    cname_target: z.string(),
    app_role: z.string(),
  })
  .openapi("App");
export type AppJson = z.infer<typeof appSchema>;

export const createAppSchema = z
  .looseObject({
    name: z.string().max(63).optional(),
    app_name: z.string().max(63).optional(),
    org_slug: z.string().max(63).nullish(),
    network: z.string().max(63).nullish(),
  })
  .openapi("CreateApp");

export const ipSchema = z
  .object({
    ip: z.string(),
    region: z.string(),
    service_name: z.string(),
    shared: z.boolean(),
    egress: z.boolean(),
    /** Where its clients are; an empty name is the organisation's default network. */
    network: z.object({ name: z.string(), org_slug: z.string() }).nullable(),
    created_at: z.iso.datetime(),
  })
  .openapi("IPAssignment");
export type IpJson = z.infer<typeof ipSchema>;

export const allocateSchema = z
  .looseObject({
    type: z.string().max(16),
    region: z.string().max(16).nullish(),
    org_slug: z.string().max(63).nullish(),
    network: z.string().max(63).nullish(),
    service_name: z.string().max(63).nullish(),
  })
  .openapi("AllocateIP");

export const leaseSchema = z
  .object({
    status: z.literal("success"),
    data: z.object({
      nonce: z.string(),
      /** Seconds since the epoch. */
      expires_at: z.number().int(),
      owner: z.string(),
      description: z.string(),
      /** `instance_id` of the Machine. */
      version: z.string(),
    }),
  })
  .openapi("Lease");
export type LeaseJson = z.infer<typeof leaseSchema>;

export const errorSchema = z
  .object({ error: z.string(), status: z.string(), code: z.string(), next: z.string().optional() })
  .openapi("Error");
