// Notes in a database that sleeps: GET / lists them, POST / adds one. Uses `psql`, so that it needs no packages.
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { promisify } from "node:util";

const url = process.env.DATABASE_URL;

async function sql(query, variables = {}) {
  const set = Object.entries(variables).flatMap(([name, value]) => ["-v", `${name}=${value}`]);
  const child = promisify(execFile)("psql", [url, "-XAtq", "-v", "ON_ERROR_STOP=1", ...set], { timeout: 60_000 });
  // psql fills in :'name', properly quoted, in what it reads from its input.
  child.child.stdin.end(`create table if not exists notes (id serial, text text);\n${query}\n`);
  return (await child).stdout;
}

async function body(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > 10_000) throw new Error("the note is too long");
  }
  return text;
}

const server = createServer(async (request, response) => {
  try {
    if (request.method === "POST")
      await sql("insert into notes (text) values (:'text');", { text: await body(request) });
    const notes = await sql("select id || ' ' || text from notes order by id;");
    response.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end(notes);
  } catch (error) {
    response.writeHead(500, { "content-type": "text/plain" }).end(`${error.stderr || error.message}\n`);
  }
});

server.listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? "::");
process.on("SIGINT", () => server.close(() => process.exit(0)));
