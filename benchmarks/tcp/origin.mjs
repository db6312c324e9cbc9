// Echoes; a connection that says "G" first is given bytes until it leaves.
import { createServer } from "node:net";

const chunk = Buffer.alloc(256 * 1024, 7);
createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => {});
  socket.once("data", (first) => {
    if (first[0] !== 0x47) {
      socket.write(first);
      socket.on("data", (bytes) => socket.write(bytes));
      return;
    }
    const fill = () => {
      while (socket.writable && socket.write(chunk));
    };
    socket.on("drain", fill);
    fill();
  });
}).listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
