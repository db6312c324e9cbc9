// The Machine of the soak: HTTP on its port (or lines of TCP with LINES=1), and whatever it says can be checked.
import { createServer } from "node:http";
import { createServer as createTcp } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const port = Number(process.env.PORT ?? 8080);
const host = process.env.HOST ?? "::";

if (process.env.LINES === "1") {
  createTcp({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("end", () => socket.end());
  }).listen(port, host);
} else {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://app");
    if (url.pathname === "/echo") request.pipe(response);
    else void speak(response, Number(url.searchParams.get("parts") ?? 1), Number(url.searchParams.get("pause") ?? 0));
  });
  server.on("upgrade", (request, socket) => {
    socket.on("error", () => socket.destroy());
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: silence\r\n\r\n");
    setTimeout(() => socket.end("spoke"), Number(request.headers["x-silence"] ?? 0));
  });
  server.listen(port, host);
}

/** Parts with pauses between them, all of which the client counts. */
async function speak(response, parts, pause) {
  for (let part = 1; part <= parts && !response.destroyed; part++) {
    response.write(`part ${part} of ${parts}\n`);
    if (pause > 0) await sleep(pause);
  }
  response.end("end\n");
}
