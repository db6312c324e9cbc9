import http from "node:http";
import { createProxyServer } from "http-proxy-3";

const [port, origin] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
const proxy = createProxyServer({ target: `http://127.0.0.1:${origin}`, xfwd: true, agent });
http.createServer((request, response) => proxy.web(request, response, {})).listen(Number(port), "127.0.0.1");
