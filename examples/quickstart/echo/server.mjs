// Raw TCP: sends every byte back, and closes when the client has finished.
import { createServer } from "node:net";

const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
});
server.listen(Number(process.env.PORT ?? 7000), process.env.HOST ?? "0.0.0.0");
