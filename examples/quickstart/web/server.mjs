// A web app that asks another app, over its private address, before it answers.
import { createServer } from "node:http";

const server = createServer(async (request, response) => {
  try {
    const answer = await fetch(process.env.API_URL);
    response.setHeader("content-type", "text/plain");
    response.end(`Hello from web (Machine ${process.env.FLY_MACHINE_ID}).\nThe api says: ${await answer.text()}`);
  } catch (error) {
    response.statusCode = 502;
    response.end(`web could not reach the api: ${error.cause?.message ?? error.message}\n`);
  }
});
server.listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? "0.0.0.0");
