import Fastify from "fastify";
import replyFrom from "@fastify/reply-from";

const [port, origin] = process.argv.slice(2);
const app = Fastify();
app.register(replyFrom, { base: `http://127.0.0.1:${origin}`, undici: { connections: 256, pipelining: 1 } });
app.all("/*", (_request, reply) => reply.from());
await app.listen({ port: Number(port), host: "127.0.0.1" });
