// One request from inside a network, as another Machine would make it. Prints when the connection stood and when the first byte
// came, in milliseconds after it began. Usage: flycast exec -- node client.mjs ADDRESS
import { once } from "node:events";
import { connect, createServer } from "node:net";

const [address] = process.argv.slice(2);

async function ask(port, host) {
  const began = performance.now();
  let connected = 0;
  const socket = connect(port, host, () => (connected = performance.now() - began));
  socket.write("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
  await once(socket, "data");
  const firstByte = performance.now() - began;
  socket.destroy();
  return { connected, firstByte };
}

// Node takes 3 ms for the first connection of a process: to ourselves, and to a port of the address where nothing is, so that
// neither this program nor its link does anything for the first time in what is measured.
const own = createServer((socket) => socket.end("x")).listen(0, "::1");
await once(own, "listening");
for (let i = 0; i < 3; i++) await ask(own.address().port, "::1");
own.close();
await once(connect(9, address), "error").catch(() => undefined);
console.log(JSON.stringify(await ask(80, address)));
process.exit(0);
