// What node:net itself costs: bytes from one socket to another and back, nothing read, nothing checked. Not a proxy, a floor.
import { connect, createServer } from "node:net";

const [port, origin] = process.argv.slice(2).map(Number);
const options = { noDelay: true };

createServer(options, (client) => {
  const machine = connect({ port: origin, host: "127.0.0.1", ...options });
  client.on("data", (bytes) => machine.write(bytes));
  machine.on("data", (bytes) => client.write(bytes));
  for (const [socket, other] of [
    [client, machine],
    [machine, client],
  ]) {
    socket.on("error", () => other.destroy());
    socket.on("close", () => other.destroy());
  }
}).listen(port, "127.0.0.1");
