import type { Connection, Handler } from "../context.ts";
import type { Phases } from "../phases.ts";
import type { IdleSessions } from "../postgres/idle-sessions.ts";
import type { NodeReach } from "../reach.ts";
import type { Certificates } from "../tls/certificates.ts";
import { pgTlsHandler } from "./pg-tls.ts";
import { postgresHandler } from "./postgres.ts";
import { tcpHandler } from "./tcp.ts";
import { tlsHandler } from "./tls.ts";

const POSTGRES_PORTS: ReadonlySet<number> = new Set([5432, 5433]);

/**
 * Which handler a connection begins with. Handlers are a set, their order in fly.toml means nothing: what ends encryption
 * comes first, then what understands the protocol (superfly/docs networking/services, 2026-08-07).
 */
export function handlersFor(
  phases: Phases,
  reach: NodeReach,
  http: Handler,
  certificates: Certificates,
  sessions: IdleSessions,
): (connection: Connection) => Handler {
  /** Services that once carried a Postgres session. */
  const seen = new Set<string>();
  const tcp = tcpHandler(phases, reach, (connection) => seen.add(keyOf(connection)));
  const postgres = postgresHandler(phases, reach, sessions);

  const inside = (connection: Connection): Handler => {
    if (connection.route.port.handlers.has("http")) return http;
    return isPostgres(connection) ? postgres : tcp;
  };
  const tls = tlsHandler(phases, certificates, inside);
  const pgTls = pgTlsHandler(phases, certificates, inside);

  function isPostgres(connection: Connection): boolean {
    const protocol = phases.view.app(connection.app)?.protocol ?? "tcp";
    if (protocol !== "auto") return protocol === "postgres";
    const { port, service } = connection.route;
    return port.handlers.has("pg_tls") || POSTGRES_PORTS.has(service.internalPort) || seen.has(keyOf(connection));
  }

  return (connection) => {
    const { handlers } = connection.route.port;
    if (handlers.has("pg_tls")) return pgTls;
    return handlers.has("tls") ? tls : inside(connection);
  };
}

function keyOf(connection: Connection): string {
  return `${connection.app} ${connection.route.service.internalPort}`;
}
