import type { Socket } from "node:net";
import { AppError, type ErrorCode } from "../core/errors.ts";
import { accept, type Entrance } from "./accept.ts";
import { admit } from "./admit.ts";
import type { Budget } from "./budget.ts";
import type { Connection, Handler } from "./context.ts";
import { reset } from "./forward.ts";
import type { Phases } from "./phases.ts";
import { toProxyError } from "./respond.ts";
import { route } from "./route.ts";
import { settle } from "./settle.ts";
import type { Tracker } from "./tracker.ts";

export interface ConnectionPhases extends Phases {
  readonly budget: Budget;
  readonly tracker: Tracker;
  /** choose → wake → connect → forward → settle, as the port's handlers ask. */
  readonly handlerFor: (connection: Connection) => Handler;
}

let lastId = 0;

/** The life of a connection: accept → route → admit → (choose → wake → connect → forward → settle, in its handler). */
export async function handleConnection(phases: ConnectionPhases, socket: Socket, entrance: Entrance): Promise<void> {
  // An error between two owners of the socket must not become an uncaught exception.
  socket.on("error", ignore);

  const accepted = accept(socket, entrance, phases);
  if (accepted === undefined) return reset(socket);
  const { caller, destination } = accepted;

  const routed = route(phases.view, destination);
  if (!routed.ok) return refuse(phases, socket, routed.error);
  const { address, route: found } = routed.value;

  const admitted = admit(caller, address);
  if (!admitted.ok) return refuse(phases, socket, admitted.error);

  // All published connections come from the user's own computer: there is no source to be fair to.
  const source = caller.via === "published" ? undefined : caller.address;
  const room = phases.budget.openDownstream(address.network, source);
  if (!room.ok) return refuse(phases, socket, room.error);

  const connection: Connection = {
    id: ++lastId,
    caller,
    destination,
    app: address.app,
    network: address.network,
    route: found,
    reported: undefined,
    tls: undefined,
    acceptedAt: phases.clock.now(),
  };
  const closed = new Promise<void>((resolve) => (socket.closed ? resolve() : socket.once("close", () => resolve())));
  phases.tracker.add(connection.id, socket, {
    app: address.app,
    caller,
    destination: `[${destination.address}]:${destination.port}`,
  });
  try {
    await phases.handlerFor(connection).serve(connection, socket, undefined);
  } catch (thrown) {
    // Handlers settle everything themselves: what comes here is a defect, and costs this connection only.
    reset(socket);
    phases.log.error({ err: thrown, app: connection.app }, "a connection failed inside the proxy");
    settle(phases, { error: toProxyError(thrown) });
  }
  await closed;
  phases.tracker.remove(connection.id);
  room.value();
}

/** Without a byte, and counted: nobody learns what is there, or for whom. */
function refuse(phases: ConnectionPhases, socket: Socket, code: ErrorCode): void {
  reset(socket);
  settle(phases, { error: new AppError(code) });
}

function ignore(): void {}
