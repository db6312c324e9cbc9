// An app of globex that uses what acme has shared with it: by the same name, at an address on globex's own network.
import { createServer } from "node:http";

createServer(async (request, response) => {
  response.setHeader("content-type", "text/plain");
  try {
    // A connection for each request, so that you see at once when the address is taken back.
    const answer = await fetch("http://ledger.flycast", { headers: { connection: "close" } });
    response.end(`The shop asked, and heard: ${await answer.text()}`);
  } catch (error) {
    response.statusCode = 502;
    response.end(`The shop could not reach the ledger: ${error.cause?.code ?? error.message}\n`);
  }
}).listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? "0.0.0.0");
