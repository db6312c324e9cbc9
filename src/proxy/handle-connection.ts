import type { Socket } from "node:net";
import { AppError } from "../core/errors.ts";
import { accept, type Entrance } from "./accept.ts";
import { admit } from "./admit.ts";
import type { Connection } from "./context.ts";
import { reset } from "./forward.ts";
import { readProxyHeader } from "./handlers/inbound-proxy.ts";
import type { ConnectionPhases } from "./phases.ts";
import { toProxyError } from "./respond.ts";
import { route } from "./route.ts";
import { refuse } from "./refuse.ts";

let lastId = 0;

/** The life of a connection: accept → route → admit → (choose → wake → connect → forward → settle, in its handler). */
export async function handleConnection(phases: ConnectionPhases, socket: Socket, entrance: Entrance): Promise<void> {
  // First of all: what a wake cost is counted from here.
  const acceptedAt = phases.clock.now();
  // An error between two owners of the socket must not become an uncaught exception.
  socket.on("error", ignore);

  const accepted = accept(socket, entrance, phases);
  if (accepted === undefined) return reset(socket);
  const { caller, destination } = accepted;
  if (caller.via === "published") phases.crowding.came("computer");
  else if (caller.network !== undefined) phases.crowding.came(caller.network);

  const routed = route(phases.view, destination);
  if (!routed.ok) return refuse(phases, socket, new AppError(routed.error), accepted);
  const { address, route: found } = routed.value;
  const subject = { caller, destination, app: address.app };

  const admitted = admit(caller, address);
  if (!admitted.ok) return refuse(phases, socket, new AppError(admitted.error), subject);

  // All published connections come from the user's own computer: there is no source to be fair to.
  const source = caller.via === "published" ? undefined : caller.address;
  const room = phases.budget.openDownstream(address.network, source);
  if (!room.ok) return refuse(phases, socket, new AppError(room.error), subject);

  const id = ++lastId;
  const closed = new Promise<void>((resolve) => (socket.closed ? resolve() : socket.once("close", () => resolve())));
  phases.tracker.add(id, socket, {
    app: address.app,
    caller,
    destination: `[${destination.address}]:${destination.port}`,
  });
  try {
    const turn = phases.turn(address.network);
    if (turn !== undefined) await turn;
    if (socket.destroyed) throw new AppError("FP10");
    const preface = phases.trusts(caller.address)
      ? await readProxyHeader(socket, phases.clock, phases.limits().headTimeout)
      : undefined;
    const connection: Connection = {
      id,
      caller,
      destination,
      app: address.app,
      network: address.network,
      route: found,
      reported: preface?.value,
      tls: undefined,
      acceptedAt,
    };
    await phases
      .handlerFor(connection)
      .serve(connection, socket, preface?.rest.length === 0 ? undefined : preface?.rest);
  } catch (thrown) {
    const error = toProxyError(thrown);
    refuse(phases, socket, error, subject);
    // Handlers settle everything themselves: what comes from them is a defect, and costs this connection only.
    if (error.code === "FP15")
      phases.log.error({ err: thrown, app: address.app }, "a connection failed inside the proxy");
  }
  await closed;
  phases.tracker.remove(id);
  room.value();
}

function ignore(): void {}
