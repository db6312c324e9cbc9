// A service of acme. It sees who calls it by the address, which nobody can forge.
import { createServer } from "node:http";

createServer((request, response) => {
  response.setHeader("content-type", "text/plain");
  response.end(`The ledger of acme. You call from ${request.headers["fly-client-ip"]}.\n`);
}).listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? "0.0.0.0");
