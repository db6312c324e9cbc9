import { port } from "../core/units.ts";
import type { RawHttpService, RawPort, RawService } from "./fly-toml-services.ts";
import type { Path } from "./toml-document.ts";

export interface RawServices {
  readonly http_service: RawHttpService | undefined;
  readonly services: readonly RawService[];
}

/** A service in one spelling, and how the file names the list that its HTTP checks come from. */
export interface DesugaredService {
  readonly service: RawService;
  readonly sugar: boolean;
}

/**
 * All services: `[http_service]` first, as ports 80 (`http`) and 443 (`http`, `tls`), then `[[services]]` in their order.
 * `origins` learns that everything of the sugar was written in `[http_service]`. Port 443 never forces HTTPS.
 * Source: superfly/flyctl internal/appconfig/service.go, `ToService`.
 */
export function allServices(raw: RawServices, origins: WeakMap<object, Path>): readonly DesugaredService[] {
  const plain = raw.services.map((service) => ({ service, sugar: false }));
  const http = raw.http_service;
  if (http === undefined) return plain;
  const entry = (number: 80 | 443, handlers: readonly string[]): RawPort => ({
    port: port(number),
    start_port: undefined,
    end_port: undefined,
    handlers,
    force_https: number === 80 && http.force_https,
    tls_options: number === 443 ? http.tls_options : undefined,
    http_options: http.http_options,
    proxy_proto_options: undefined,
  });
  const service: RawService = {
    protocol: "tcp",
    internal_port: http.internal_port,
    auto_stop_machines: http.auto_stop_machines,
    auto_start_machines: http.auto_start_machines,
    min_machines_running: http.min_machines_running,
    processes: http.processes,
    ports: [entry(80, ["http"]), entry(443, ["http", "tls"])],
    concurrency: http.concurrency,
    tcp_checks: [],
    http_checks: http.checks,
    machine_checks: [],
  };
  const written = origins.get(http) ?? [];
  for (const made of [service, ...service.ports]) origins.set(made, written);
  return [{ service, sugar: true }, ...plain];
}
