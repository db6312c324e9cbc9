// Echoes on port 7; on port 8 it accepts and closes.
import { createServer } from "node:net";

const host = process.env.HOST ?? "::";
createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => {});
  socket.on("data", (bytes) => socket.write(bytes));
}).listen({ port: 7, host, backlog: 4096 });
createServer((socket) => {
  socket.on("error", () => {});
  socket.resetAndDestroy();
}).listen({ port: 8, host, backlog: 4096 });
