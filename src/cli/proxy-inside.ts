// Runs inside a network for `flycast proxy HOST PORT`: takes the listener over IPC and joins its connections to the private port.
import { lookup } from "node:dns/promises";
import { connect, createServer, type Server, type Socket } from "node:net";

const [host = "", port = ""] = process.argv.slice(2);

process.on("disconnect", () => process.exit(0));
process.on("message", (message, handle) => {
  // Connections that came before the listener did.
  if (message === "connection") return join(handle as Socket | undefined);
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, join);
  server.listen(handle as Server, () => process.send?.("taken"));
});
process.send?.("ready");
// Said at once, for it may be a slip of the pen; not refused, for the name may come later.
lookup(host, { family: 6 }).catch(() => process.stderr.write(`note: ${host} has no address on this network now\n`));

function join(socket: Socket | undefined): void {
  // Undefined: it left before it arrived here.
  if (socket === undefined) return;
  const upstream = connect({ host, port: Number(port), family: 6, allowHalfOpen: true, noDelay: true });
  socket.on("error", () => upstream.destroy());
  upstream.on("error", (error: NodeJS.ErrnoException) => {
    const why = error.code === "ENOTFOUND" ? "has no address on this network" : (error.code ?? error.message);
    process.stderr.write(`${host} port ${port}: ${why}\n`);
    socket.resetAndDestroy();
  });
  socket.pipe(upstream).pipe(socket);
}
