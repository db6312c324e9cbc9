/** Keep-alive clients that send the next request when the last answer is complete. Prints the number of answers. */
import { connect } from "node:net";

const [port, connections, seconds] = process.argv.slice(2).map(Number);
const request = Buffer.from(
  `GET /path?x=1 HTTP/1.1\r\nHost: web.flycast\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n`,
);
let answers = 0;
let failed = 0;
let running = true;
for (let i = 0; i < connections; i++) {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("connect", () => socket.write(request));
  socket.on("data", (chunk) => {
    // The body of the origin ends in a line feed, and heads come with their small bodies.
    if (chunk[chunk.length - 1] !== 0x0a || chunk[chunk.length - 2] === 0x0d) return;
    if (!chunk.subarray(9, 12).equals(OK)) failed++;
    answers++;
    if (running) socket.write(request);
    else socket.end();
  });
  socket.on("error", () => failed++);
}
const OK = Buffer.from("200");
setTimeout(() => {
  running = false;
  process.stdout.write(JSON.stringify({ answers, failed }));
  process.exit(0);
}, seconds * 1000);
