// The app that is woken: answers one line as soon as Node runs.
import { createServer } from "node:http";

createServer((_request, response) => response.end("awake\n")).listen(
  Number(process.env.PORT ?? 8080),
  process.env.HOST ?? "0.0.0.0",
);
