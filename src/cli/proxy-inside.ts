// Runs inside a network for `flycast proxy HOST PORT`: takes the listener over IPC and joins its connections to the private port.
import { connect, createServer, type Server } from "node:net";

const [host = "", port = ""] = process.argv.slice(2);

process.on("disconnect", () => process.exit(0));
process.on("message", (_message, handle) => {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    const upstream = connect({ host, port: Number(port), family: 6, allowHalfOpen: true, noDelay: true });
    socket.on("error", () => upstream.destroy());
    upstream.on("error", () => socket.resetAndDestroy());
    socket.pipe(upstream).pipe(socket);
  });
  server.listen(handle as Server, () => process.send?.("taken"));
});
process.send?.("ready");
