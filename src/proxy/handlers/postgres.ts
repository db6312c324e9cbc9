import type { Socket } from "node:net";
import type { AppError } from "../../core/errors.ts";
import { ms } from "../../core/units.ts";
import type { Claim } from "../../machines/pool.ts";
import type { Connection, Handler, Work } from "../context.ts";
import { forward, reset } from "../forward.ts";
import { Hold } from "../hold.ts";
import type { Phases } from "../phases.ts";
import { explain, fatalError, LONGEST_STARTUP, parseFirstMessage, type FirstMessage } from "../postgres/messages.ts";
import { KeyWatcher } from "../postgres/key-watcher.ts";
import { isReady } from "../postgres/readiness.ts";
import type { EndableSession, IdleSessions } from "../postgres/idle-sessions.ts";
import { SessionKeys } from "../postgres/session-keys.ts";
import { SessionState } from "../postgres/session-state.ts";
import { readPreface, type Preface } from "../preface.ts";
import type { NodeReach } from "../reach.ts";
import { toProxyError } from "../respond.ts";
import { settle } from "../settle.ts";
import { proxyHeaderFor } from "./proxy-protocol.ts";
import { rawWork } from "./tcp.ts";

/** How long a client may take to read why it was refused. */
const FAREWELL_MS = 5000;
/** How long the last words of a session that we end may take to go out. */
const LAST_WORDS_MS = 1000;

const TERMINATE = Buffer.from("X\0\0\0\x04", "latin1");
const TERMINATED = fatalError({
  sqlState: "57P01",
  message: "terminating connection because every session of the database is idle",
  hint: 'Connect again when you need it: the database wakes. This is idle_sessions = "end" in flycast.toml.',
});

/**
 * Postgres: bytes as they are, but woken by the beginning of a session (never by accept or by a CancelRequest), ready when
 * the server says so, cancelled where the session is, and refused in the client's own words.
 */
export function postgresHandler(phases: Phases, reach: NodeReach, sessions: IdleSessions): Handler {
  const keys = new SessionKeys();
  return {
    async serve(connection, socket, already) {
      let first: Preface<FirstMessage>;
      try {
        first = await peek(phases, socket, already);
      } catch (thrown) {
        reset(socket);
        return settle(phases, { subject: connection, error: toProxyError(thrown) });
      }
      if (first.value.kind === "cancel")
        return cancel(phases, reach, keys, { connection, socket, ...first }, first.value.key);
      return session(phases, reach, { keys, sessions }, connection, socket, first);
    },
  };
}

/** Looks without taking: what the client said goes to the Machine as it was. */
function peek(phases: Phases, socket: Socket, already: Buffer | undefined): Promise<Preface<FirstMessage>> {
  return readPreface(socket, already, {
    clock: phases.clock,
    timeout: phases.limits().headTimeout,
    longest: LONGEST_STARTUP + 8,
    code: "FP09",
    parse(bytes) {
      const parsed = parseFirstMessage(bytes);
      return parsed === undefined ? undefined : { value: parsed.value, length: 0 };
    },
  });
}

async function session(
  phases: Phases,
  reach: NodeReach,
  { keys, sessions }: { readonly keys: SessionKeys; readonly sessions: IdleSessions },
  connection: Connection,
  socket: Socket,
  first: Preface<FirstMessage>,
): Promise<void> {
  const hold = new Hold(socket, phases.limits().holdBuffer, first.rest);
  const work: Work = {
    ...rawWork(connection, hold.signal, phases.clock.now()),
    probe: probeFor(phases, connection, first.value),
  };
  let reached;
  try {
    reached = await reach.reach(work);
  } catch (thrown) {
    const error = toProxyError(thrown);
    const { chunks } = hold.take();
    await refuse(phases, socket, first.value, Buffer.concat(chunks), error);
    return settle(phases, { work, error });
  }
  const { claim, socket: upstream } = reached;
  let forgetKey: (() => void) | undefined;
  const watcher = new KeyWatcher(
    (key) => (forgetKey ??= keys.add(connection.app, key, claim.machine)),
    first.value.kind === "ssl-request" || first.value.kind === "gss-request",
  );
  const endable = phases.view.app(connection.app)?.idleSessions === "end" ? new SessionState() : undefined;
  const leave =
    endable && sessions.add(claim.machine, endableSession(phases, { socket, upstream, claim, state: endable }));
  try {
    const forwarded = await forward(socket, upstream, hold.take(), {
      claim,
      clock: phases.clock,
      halfClosedTimeout: phases.limits().halfClosedTimeout,
      onFirstByte: () => reach.firstByte(claim),
      watch: {
        fromClient: (chunk) => endable?.fromClient(chunk),
        fromMachine: (chunk) => {
          watcher.see(chunk);
          endable?.fromMachine(chunk);
        },
      },
    });
    settle(phases, { work, machine: claim.machine, ...forwarded });
  } finally {
    leave?.();
    forgetKey?.();
    claim.release();
  }
}

/** Ends a session as an administrator would: the client is told, and the server sees it leave. */
function endableSession(
  phases: Phases,
  about: { readonly socket: Socket; readonly upstream: Socket; readonly claim: Claim; readonly state: SessionState },
): EndableSession {
  const { socket, upstream, claim, state } = about;
  let hasEnded = false;
  return {
    get isIdle() {
      return hasEnded || (state.isIdle && socket.writableLength === 0 && upstream.writableLength === 0);
    },
    get lastByte() {
      return claim.lastByte;
    },
    end() {
      if (hasEnded) return;
      hasEnded = true;
      socket.end(TERMINATED);
      upstream.end(TERMINATE);
      // A pool notices when it next uses the connection, which may be tomorrow: its side is not waited for.
      phases.clock.after(ms(LAST_WORDS_MS), () => {
        socket.destroy();
        upstream.destroy();
      });
    },
  };
}

/** What is no Postgres at all (port 5432 is only a custom) is ready when the port accepts. */
function probeFor(phases: Phases, connection: Connection, first: FirstMessage): Work["probe"] {
  if (first.kind === "other") return undefined;
  // The client's own names where they are in clear text: a wrong name would be a line in the server's log.
  const user = (first.kind === "startup" ? first.user : undefined) ?? "postgres";
  const database = (first.kind === "startup" ? first.database : undefined) ?? user;
  const header = proxyHeaderFor({ route: connection.route, connection });
  return (socket) => {
    if (header !== undefined) socket.write(header);
    return isReady(socket, { user, database }, phases.clock, phases.limits().connectTimeout);
  };
}

/**
 * An ErrorResponse is understood after a StartupMessage. To a client that asked for encryption first we say no, so that it
 * goes on in clear text, if it is willing to, and can be told.
 */
async function refuse(
  phases: Phases,
  socket: Socket,
  first: FirstMessage,
  sent: Buffer,
  error: AppError,
): Promise<void> {
  try {
    for (let now = first, said = sent; ;) {
      if (now.kind === "startup") return await farewell(phases, socket, explain(error));
      if (now.kind !== "ssl-request" && now.kind !== "gss-request") return reset(socket);
      if (socket.destroyed) return;
      socket.write("N");
      const next = await peek(phases, socket, said.subarray(8));
      now = next.value;
      said = next.rest;
    }
  } catch {
    reset(socket);
  }
}

async function farewell(phases: Phases, socket: Socket, words: Buffer): Promise<void> {
  socket.end(words);
  socket.resume();
  await closed(phases, socket, FAREWELL_MS);
}

/** To the Machine that issued the key; where nobody knows, to every one that runs. Wakes none, and keeps none awake. */
async function cancel(
  phases: Phases,
  reach: NodeReach,
  keys: SessionKeys,
  { connection, socket, rest }: { readonly connection: Connection; readonly socket: Socket; readonly rest: Buffer },
  key: Buffer,
): Promise<void> {
  const issuer = keys.issuer(connection.app, key);
  const machines = issuer === undefined ? phases.view.machinesOf(connection.app).map(({ id }) => id) : [issuer];
  const service = connection.route.service.internalPort;
  await Promise.all(
    machines.map(async (machine) => {
      try {
        const upstream = await reach.revisit(machine, service);
        if (upstream === undefined) return;
        const header = proxyHeaderFor({ route: connection.route, connection });
        if (header !== undefined) upstream.write(header);
        upstream.end(rest);
        upstream.resume();
        // The server closes when it has passed the signal on, and the client waits for that.
        await closed(phases, upstream, FAREWELL_MS);
      } catch {
        // A Machine that cannot be reached has nothing to cancel.
      }
    }),
  );
  socket.end();
  socket.resume();
  await closed(phases, socket, FAREWELL_MS);
  settle(phases, { subject: connection, machine: issuer, bytesIn: rest.length });
}

/** Resolves when the socket has closed; closes it after so long. */
function closed(phases: Phases, socket: Socket, within: number): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) return resolve();
    const timer = phases.clock.after(ms(within), () => socket.destroy());
    socket.once("close", () => {
      timer.cancel();
      resolve();
    });
  });
}
