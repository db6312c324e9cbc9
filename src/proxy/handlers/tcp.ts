import type { Connection, Handler, Reach, Work } from "../context.ts";
import { NO_WISHES } from "../context.ts";
import type { Departure } from "../departure.ts";
import { forward, reset } from "../forward.ts";
import { Hold } from "../hold.ts";
import type { Phases } from "../phases.ts";
import { parseFirstMessage } from "../postgres/messages.ts";
import { toProxyError } from "../respond.ts";
import { settle } from "../settle.ts";

/** Bytes as they are, for every protocol. The Machine is woken at accept: in many protocols the server speaks first. */
export function tcpHandler(
  phases: Phases,
  reach: Reach,
  onPostgres: (connection: Connection) => void = () => {},
): Handler {
  return {
    async serve(connection, socket, already) {
      const hold = new Hold(socket, phases.limits().holdBuffer, already);
      const work = rawWork(connection, hold.signal);
      let reached;
      try {
        reached = await reach.reach(work);
      } catch (thrown) {
        hold.take();
        reset(socket);
        return settle(phases, { work, error: toProxyError(thrown) });
      }
      const { claim, socket: upstream } = reached;
      const held = hold.take();
      try {
        const forwarded = await forward(socket, upstream, held, {
          claim,
          clock: phases.clock,
          halfClosedTimeout: phases.limits().halfClosedTimeout,
          onFirstByte: (chunk) => {
            reach.firstByte(claim);
            if (looksLikePostgres(held.chunks[0], chunk)) onPostgres(connection);
          },
        });
        settle(phases, { work, machine: claim.machine, ...forwarded });
      } finally {
        claim.release();
      }
    },
  };
}

/** A raw or upgraded connection as one piece of work: its claim lasts until both directions have ended. */
export function rawWork(connection: Connection, signal: Departure, since = connection.acceptedAt): Work {
  return {
    connection,
    app: connection.app,
    route: connection.route,
    kind: "connection",
    wake: true,
    since,
    wishes: NO_WISHES,
    excluded: new Set(),
    signal,
  };
}

/** A session's beginning that was answered as a Postgres server answers one. */
function looksLikePostgres(asked: Buffer | undefined, answered: Buffer): boolean {
  const kind = asked === undefined ? undefined : parseFirstMessage(asked)?.value.kind;
  if (kind === "startup") return "RE".includes(String.fromCharCode(answered[0] ?? 0)) && answered.length > 5;
  return (
    (kind === "ssl-request" || kind === "gss-request") && answered.length === 1 && "SNG".includes(String(answered))
  );
}
