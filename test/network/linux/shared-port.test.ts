import { afterEach, describe, expect, test } from "vitest";
import { startLab, USERS, type Lab } from "../support/lab.ts";
import { NO_LAB } from "../support/possible.ts";

const NET = 0x18;
const FLYCAST = "fdaa:0:18:0:1::1";
const DOORS = ["fdaa::3", "fdaa:0:18::3"] as const;
/** What curl says of a reset: as an answer to its first packet, or right after. */
const RESET = [7, 56];

describe.skipIf(NO_LAB).each(USERS)("services on the ports of DNS and the API (uid %i)", (uid) => {
  let lab: Lab;
  let source: string;
  afterEach(() => lab.end());

  async function newLab(): Promise<void> {
    lab = await startLab({ uid });
    source = (await lab.place("a", NET, 1)).address;
  }
  const curl = (host: string, port: number) =>
    lab.run("a", "curl", "-sg", "--http0.9", "-m", "3", `http://[${host}]:${port}/`);
  const expectAnswers = async (host: string, port: number) =>
    expect(await curl(host, port)).toEqual({ code: 0, out: `${source} ${host} ${port}` });

  test.each([53, 4280])("port %i has both, whichever listens first, and each by itself", async (port) => {
    await newLab();
    await lab.tell({ do: "doors" });
    expect(RESET).toContain((await curl(FLYCAST, port)).code);
    for (const door of DOORS) await expectAnswers(door, port);
    await lab.tell({ do: "listen-private", port });
    for (const host of [FLYCAST, ...DOORS]) await expectAnswers(host, port);
    await lab.end();

    await newLab();
    await lab.tell({ do: "listen-private", port });
    await expectAnswers(FLYCAST, port);
    await lab.tell({ do: "doors" });
    for (const host of [FLYCAST, ...DOORS]) await expectAnswers(host, port);
  });

  test("a network that goes takes its door along, and one that comes brings its own", async () => {
    await newLab();
    await lab.tell({ do: "doors" });
    await lab.tell({ do: "listen-private", port: 53 });
    await lab.place("b", 0x19, 2);
    await lab.tell({ do: "unplace", machine: "b" });
    await lab.tell({ do: "remove-network", network: 0x19 });
    for (const host of [FLYCAST, ...DOORS]) await expectAnswers(host, 53);
  });
});
