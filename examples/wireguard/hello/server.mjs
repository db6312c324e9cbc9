import { createServer } from "node:http";

createServer((request, response) => {
  response.setHeader("content-type", "text/plain");
  response.end(`Hello, ${request.headers["fly-client-ip"]}. I was asleep until you called.\n`);
}).listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? "0.0.0.0");
