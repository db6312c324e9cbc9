import { expect, test } from "vitest";
import { OutsidePorts } from "../../src/dns/outside-ports.ts";
import { directOutside } from "../../src/network/outside-direct.ts";
import { askTcp, askUdp, framed, query, show } from "./ask.ts";
import { HOME, Landscape, OTHER, machineId } from "./landscape.ts";
import { cleanUp, serve } from "./support.ts";

test("each network has one loopback port, which answers its names over UDP and TCP until it is closed", async () => {
  const landscape = new Landscape().app("web").app("secret", OTHER);
  const web = landscape.machine("web", machineId(1));
  const secret = landscape.machine("secret", machineId(2));
  const { dns } = await serve(landscape);
  const ports = new OutsidePorts(directOutside, dns);
  cleanUp(() => ports.close());
  const [home, again, other] = await Promise.all([ports.open(HOME), ports.open(HOME), ports.open(OTHER)]);
  expect(again).toEqual(home);
  expect(home.text).toBe(`127.0.0.1:${home.port}`);
  expect(show(await askUdp(home.port, query("web.internal", "AAAA"))).answers).toEqual([web]);
  expect(show(await askUdp(home.port, query("secret.internal", "AAAA"))).rcode).toBe("NXDOMAIN");
  const [answer] = await askTcp(other.port, [framed(query("secret.internal", "AAAA"))], 1);
  expect(show(answer!).answers).toEqual([secret]);
  ports.close();
  await expect(askTcp(other.port, [framed(query("secret.internal", "AAAA"))], 1)).rejects.toThrow();
});
