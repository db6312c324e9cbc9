// An API with one answer: how long it has been awake. PORT and HOST are given where Machines share the computer's ports.
import { createServer } from "node:http";

const started = Date.now();
const server = createServer((request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(
    JSON.stringify({
      app: "api",
      machine: process.env.FLY_MACHINE_ID,
      awakeForMs: Date.now() - started,
      calledBy: request.headers["fly-client-ip"],
    }) + "\n",
  );
});
server.listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? "0.0.0.0");
