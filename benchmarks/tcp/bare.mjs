// The least that a proxy in Node can do: two sockets and what passes between them. No limits, no claims, no counting.
import { connect, createServer } from "node:net";

const [port, origin] = process.argv.slice(2).map(Number);
createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  const machine = connect({ host: "127.0.0.1", port: origin, allowHalfOpen: true, noDelay: true });
  for (const [from, to] of [
    [client, machine],
    [machine, client],
  ]) {
    from.on("data", (bytes) => to.write(bytes) || from.pause());
    to.on("drain", () => from.resume());
    from.on("end", () => to.end());
    from.on("error", () => to.destroy());
  }
}).listen({ port, host: "127.0.0.1", backlog: 4096 });
