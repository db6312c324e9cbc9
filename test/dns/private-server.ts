/**
 * A program for tests: the DNS server as it stands in the lab, on `[fdaa::3]:53` and each network's `[<prefix>::3]:53`,
 * with a resolver for the rest of the world behind it. Says "ready" when it listens, and ends with its standard input.
 */
import { randomBytes } from "node:crypto";
import dnsPacket from "dns-packet";
import { systemClock } from "../../src/core/clock.ts";
import { createForwarder } from "../../src/dns/forwarder.ts";
import { createDns } from "../../src/dns/server.ts";
import { ANY_DNS, dnsAddress } from "../../src/network/address.ts";
import { directOutside } from "../../src/network/outside-direct.ts";
import { identify } from "../../src/registry/identify.ts";
import { HOME, IAD, OTHER } from "./landscape.ts";
import { clientLandscape } from "./private-landscape.ts";

const { landscape } = clientLandscape();
const world = await directOutside.bindUdp("127.0.0.1", 0);
world.on("message", (message, from) => {
  const { id, questions } = dnsPacket.decode(message);
  const question = questions?.[0];
  if (question === undefined) return;
  const known = question.name.toLowerCase() === "www.example.com" && question.type === "A";
  const answer = dnsPacket.encode({
    type: "response",
    id: id ?? 0,
    flags: dnsPacket.RECURSION_AVAILABLE,
    questions: [question],
    answers: known ? [{ name: question.name, type: "A", class: "IN", ttl: 60, data: "192.0.2.1" }] : [],
  });
  world.send(answer, from.port, from.address);
});

const forwarder = createForwarder({
  outside: directOutside,
  upstreams: [`127.0.0.1:${world.address().port}`],
  forward: new Map(),
  clock: systemClock,
  random: randomBytes,
});
const dns = createDns({
  view: landscape.view,
  closeness: (_from, to) => (to === "ams" ? 80 : 1),
  identify: (source) => {
    const { network, region } = identify(landscape.view, IAD, source, 0);
    return network === undefined ? undefined : { network, region };
  },
  forwarder,
  clock: systemClock,
  random: randomBytes,
});
const policies = [
  [ANY_DNS, "by-source"],
  [dnsAddress(HOME), { network: HOME, members: true }],
  [dnsAddress(OTHER), { network: OTHER, members: true }],
] as const;
for (const [address, how] of policies) {
  dns.attachUdp(await directOutside.bindUdp(address, 53), how);
  dns.attachTcp(await directOutside.listen(address, 53), how);
}
process.stdout.write("ready\n");
process.stdin.on("end", () => process.exit(0)).resume();
