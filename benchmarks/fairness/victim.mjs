// A new connection every 10 ms, whatever became of the last: one byte there and back. Prints the times in milliseconds.
import { connect } from "node:net";
import { lookup } from "node:dns/promises";

const [, , name, port, seconds] = process.argv;
const { address } = await lookup(name, { family: 6 });
const times = [];
let failed = 0;
let open = 0;
const end = performance.now() + Number(seconds) * 1000;
const timer = setInterval(() => {
  if (performance.now() > end) return clearInterval(timer);
  const begun = performance.now();
  open++;
  let answered = false;
  const socket = connect({ host: address, port: Number(port), noDelay: true });
  socket.write("x");
  socket.setTimeout(20_000, () => socket.destroy());
  socket.on("error", () => {});
  socket.on("data", () => {
    answered = true;
    times.push(performance.now() - begun);
    socket.end();
  });
  socket.on("close", () => {
    if (!answered) failed++;
    open--;
  });
}, 10);
while (performance.now() < end || open > 0) await new Promise((resolve) => setTimeout(resolve, 50));
process.stdout.write(JSON.stringify({ times, failed }));
