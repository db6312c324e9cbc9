// So many clients that connect, as `kind` says, and leave, without a pause. Prints how often.
import { lookup } from "node:dns/promises";
import { connect } from "node:net";
import { connect as connectTls, createSecureContext } from "node:tls";

const [, , kind, name, port, clients, seconds] = process.argv;
const { address } = await lookup(name, { family: 6 });
const target = { host: address, port: Number(port) };
const end = performance.now() + Number(seconds) * 1000;
// One for all: making one costs more than a handshake.
const secureContext = createSecureContext();
let count = 0;

function once() {
  if (performance.now() > end) return;
  const socket =
    kind === "tls"
      ? connectTls({ ...target, servername: name, secureContext, rejectUnauthorized: false })
      : connect(target);
  socket.on("error", () => {});
  socket.on(kind === "tls" ? "secureConnect" : "connect", () => {
    if (kind === "wait") setTimeout(() => socket.resetAndDestroy(), 100 * Math.random());
    else if (kind === "serve") socket.write("x");
    else socket.destroy();
  });
  // By a reset: otherwise each would keep a port for a minute, and the flood would run out of them after a few seconds.
  socket.on("data", () => socket.resetAndDestroy());
  socket.on("close", () => {
    count++;
    setImmediate(once);
  });
}
for (let i = 0; i < Number(clients); i++) once();
setTimeout(
  () => {
    process.stdout.write(String(count));
    process.exit(0);
  },
  Number(seconds) * 1000,
);
