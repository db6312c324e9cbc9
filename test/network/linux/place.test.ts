import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startLab, USERS, type Lab } from "../support/lab.ts";
import { NO_LAB, NO_ROOT } from "../support/possible.ts";

const NET = 0x18;

describe.skipIf(NO_LAB).each(USERS)("a Machine's place (uid %i)", (uid) => {
  let lab: Lab;
  let folder: string;
  let stateDir: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "flycast-place-"));
    stateDir = join(folder, ".flycast");
    mkdirSync(join(stateDir, "volumes", "data"), { recursive: true });
    mkdirSync(join(folder, "other"));
    writeFileSync(join(stateDir, "token"), "secret", { mode: 0o600 });
    writeFileSync(join(stateDir, "volumes", "data", "kept"), "kept");
    writeFileSync(join(folder, "other", "private"), "private");
    for (const path of ["", ".flycast", ".flycast/token", ".flycast/volumes", ".flycast/volumes/data", "other"]) {
      if (process.getuid?.() === 0) chownSync(join(folder, path), uid, uid);
    }
    chmodSync(folder, 0o755);
    lab = await startLab({ uid, stateDir });
    await lab.tell({
      do: "place",
      machine: "a1",
      network: NET,
      part: 1,
      mounts: [{ folder: join(stateDir, "volumes", "data"), destination: "/data" }],
      files: [{ path: "/.fly/fly-src.pub", content: "key" }],
      hidden: [join(folder, "other")],
    });
  });
  afterAll(async () => {
    await lab.end();
    rmSync(folder, { recursive: true, force: true });
  });

  const sh = (script: string, machine = "a1") => lab.run(machine, "sh", "-c", script);

  test("has its own hosts, resolver and name switch, and the computer's files stay as they are", async () => {
    const before = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"].map((path) => readFileSync(path, "utf8"));
    expect((await sh("getent hosts fly-local-6pn")).out).toMatch(/^fdaa:0:18:0:7:0:1:2 +fly-local-6pn a1$/);
    expect((await sh("cat /etc/resolv.conf")).out).toMatch(/^nameserver fdaa::3$/m);
    expect((await sh("grep ^hosts: /etc/nsswitch.conf")).out).toBe("hosts: files dns");
    expect(["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"].map((path) => readFileSync(path, "utf8"))).toEqual(
      before,
    );
  });

  test("does not show the state folder, nor what else is hidden from it", async () => {
    expect((await sh(`ls -A ${stateDir}; cat ${stateDir}/token`)).out).not.toContain("secret");
    expect((await sh(`ls -A ${stateDir} ${folder}/other | grep -v :`)).out.trim()).toBe("");
    expect((await sh(`touch ${stateDir}/made 2>/dev/null && ls ${stateDir}`)).out).not.toContain("token");
  });

  test("has volumes at their destination, though they lie in the state folder, and files at their path", async () => {
    expect((await sh("cat /data/kept; echo new > /data/new; cat /.fly/fly-src.pub")).out).toBe("keptkey");
    expect(readFileSync(join(stateDir, "volumes", "data", "new"), "utf8")).toBe("new\n");
  });

  test("leaves no folder of its own on the computer", () => {
    expect(() => readFileSync("/.fly/fly-src.pub")).toThrow("ENOENT");
    expect(() => readFileSync("/data/kept")).toThrow("ENOENT");
  });

  test("a destination inside the computer's folders that does not exist is refused in plain words", async () => {
    const placing = lab.tell({
      do: "place",
      machine: "bad",
      network: NET,
      part: 99,
      mounts: [{ folder, destination: "/usr/share/flycast-no-such-folder" }],
    });
    await expect(placing).rejects.toThrow("/usr/share/flycast-no-such-folder does not exist");
    // And the failure stays with that Machine.
    expect((await lab.place("bad", NET, 99)).address).toBe("fdaa:0:18:0:7:0:63:2");
  });

  test("has a /run of its own, where servers of any user make their sockets, and room for temporary files", async () => {
    await lab.place("a2", NET, 2);
    expect(
      (await sh("echo 1 > /run/postgresql/.s.PGSQL.5432; echo 1 > $TMPDIR/x; ls -A /run/postgresql $TMPDIR")).code,
    ).toBe(0);
    expect((await sh("ls -A /run/postgresql $TMPDIR | grep -v : ; ls /run/flycast 2>&1", "a2")).out).toMatch(
      /^ls: [^\n]*$/,
    );
  });

  test("lets programs bind low ports and ping, without a capability", async () => {
    const script = 'net.createServer().listen(80, "0.0.0.0", () => process.exit(7))';
    expect((await lab.run("a1", process.execPath, "-e", script)).code).toBe(7);
    expect((await lab.run("a1", "ping", "-6", "-c1", "-W1", "fdaa:0:18::3")).code).toBe(0);
  });

  test("placing is idempotent, and a place that was given back is made anew", async () => {
    const first = await Promise.all([lab.place("a3", NET, 3), lab.place("a3", NET, 3)]);
    expect(first[0]).toEqual(first[1]);
    await lab.tell({ do: "start", machine: "a3", command: ["sh", "-c", "setsid sleep 1000 & exec sleep 1000"] });
    await expect.poll(async () => (await lab.tell<number[]>({ do: "members", machine: "a3" })).length).toBe(2);
    const links = await lab.tell<string[]>({ do: "links" });
    await lab.tell({ do: "unplace", machine: "a3" });
    expect((await lab.tell<string[]>({ do: "links" })).length).toBe(links.length - 1);
    // The kernel gives the number of the namespace to the next one: a place that is gone has no members, whoever has it.
    await lab.place("a4", NET, 4);
    await lab.tell({ do: "start", machine: "a4", command: ["sleep", "1000"] });
    expect(await lab.tell({ do: "members", machine: "a3" })).toEqual([]);
    await lab.tell({ do: "unplace", machine: "a3" });
    await lab.place("a3", NET, 3);
    // Even while the old one is still being taken down.
    await Promise.all([lab.tell({ do: "unplace", machine: "a3" }), lab.place("a3", NET, 3)]);
    expect((await lab.run("a3", "ping", "-6", "-c1", "-W1", "fdaa:0:18::3")).code).toBe(0);
  });

  test("fifty Machines at once get their places, and give all of it back", async () => {
    const before = await lab.tell({ do: "links" });
    const names = Array.from({ length: 50 }, (_, i) => `many${i}`);
    await Promise.all(names.map((name, i) => lab.place(name, NET, 1000 + i)));
    expect((await lab.run("many49", "ping", "-6", "-c1", "-W1", "fdaa:0:18:0:7:0:3e8:2")).code).toBe(0);
    await Promise.all(names.map((name) => lab.tell({ do: "unplace", machine: name })));
    expect(await lab.tell({ do: "links" })).toEqual(before);
  });

  test("a hostile Machine gets out of nothing", async () => {
    const core = await lab.tell<number>({ do: "pid" });
    const attempts = [
      `nsenter --net=/proc/${core}/ns/net true`,
      `nsenter --mount=/proc/${core}/ns/mnt true`,
      "nsenter --net=/proc/1/ns/net true",
      `cat /proc/${core}/environ`,
      `ls /proc/${core}/root/`,
      `for fd in /proc/${core}/fd/*; do readlink $fd && exit 0; done; exit 1`,
      `nsenter --net=/proc/${core}/fd/20 true`,
      `cat /proc/${core}/root${stateDir}/token`,
      "nft flush ruleset",
      "nft list ruleset | grep -q flycast",
      "ip addr add fdaa:0:19:bad::2/128 dev eth0",
      "ip link set eth0 down",
      "ip link set eth0 address 02:00:00:00:00:01",
      `umount ${stateDir}`,
      "umount -l /run",
      "mount -t tmpfs tmpfs /mnt",
      "mount -t proc proc /proc",
      "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
    ];
    // Root may write some kernel parameters of its own namespace.
    const tried = uid === 0 ? attempts.slice(0, -1) : attempts;
    const results = await Promise.all(tried.map(async (attempt) => [attempt, (await sh(attempt)).code === 0]));
    expect(results.filter(([, succeeded]) => succeeded)).toEqual([]);
    expect((await sh("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status")).out).not.toMatch(
      uid === 0 ? /^CapInh:.*[^0\s]/m : /[^0\s:]{16}/,
    );
  });

  test("a new user namespace gives a Machine no way to the lab's links", async () => {
    // Rights inside a namespace of its own are rights over nothing of ours.
    const script = `unshare --user --map-root-user --net sh -c 'ip link set lo up; nsenter --net=/proc/$PPID/ns/net ip link set eth0 down'; ip -o link show eth0`;
    expect((await sh(script)).out).toContain("state UP");
  });
});

describe.skipIf(NO_LAB || NO_ROOT)("as root, a Machine's user", () => {
  let lab: Lab;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "flycast-user-"));
    chownSync(folder, 12345, 12346);
    lab = await startLab({ uid: 0 });
    await lab.place("a1", NET, 1);
  });
  afterAll(async () => {
    await lab.end();
    rmSync(folder, { recursive: true, force: true });
  });

  const identity = async (how: { readonly folder: string; readonly user?: string }) =>
    (
      await lab.tell<{ out: string }>({
        do: "run",
        machine: "a1",
        command: ["sh", "-c", "id -u; id -g; pwd; grep CapEff /proc/self/status"],
        ...how,
      })
    ).out.split("\n");

  test("is the owner of the folder by default, without a capability", async () => {
    expect(await identity({ folder })).toEqual(["12345", "12346", folder, "CapEff:\t0000000000000000"]);
  });

  test("is the one that was named", async () => {
    expect(await identity({ folder: "/", user: "nobody" })).toEqual([
      "65534",
      "65534",
      "/",
      "CapEff:\t0000000000000000",
    ]);
    expect((await identity({ folder, user: "root" })).slice(0, 3)).toEqual(["0", "0", folder]);
  });

  test("must exist", async () => {
    await expect(identity({ folder, user: "no-such-user" })).rejects.toThrow('no user "no-such-user"');
  });
});

/** A computer with systemd-resolved, a mounted disk and a socket in /run: seen by one process and its children only. */
const OTHER_COMPUTER = `
  base=$(mktemp -d) && mount -t tmpfs tmpfs $base && cp -a /etc $base/etc && mkdir -p $base/run/systemd/resolve $base/run/media/disk
  echo "nameserver 127.0.0.53" > $base/run/systemd/resolve/stub-resolv.conf; echo found > $base/run/media/disk/file
  rm -f $base/etc/resolv.conf && ln -s ../run/systemd/resolve/stub-resolv.conf $base/etc/resolv.conf
  mkdir $base/run/docker; echo secret > $base/run/docker/sock; chmod -R a+rX $base
  mount --bind $base/etc /etc && mount --rbind $base/run /run && umount -l $base && rmdir $base && exec "$@"`;

describe.skipIf(NO_LAB || NO_ROOT).each(USERS)("on a computer whose resolv.conf leads into /run (uid %i)", (uid) => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await startLab({ uid, on: ["unshare", "--mount", "sh", "-c", OTHER_COMPUTER, "sh"] });
    await lab.place("a1", NET, 1);
  });
  afterAll(() => lab.end());

  const sh = (script: string) => lab.run("a1", "sh", "-c", script);

  test("a Machine asks our resolver all the same", async () => {
    expect((await sh("readlink /etc/resolv.conf; head -n1 /etc/resolv.conf")).out).toBe(
      "../run/systemd/resolve/stub-resolv.conf\nnameserver fdaa::3",
    );
  });

  test("disks that are mounted in /run are seen, and what meets there is not", async () => {
    expect((await sh("cat /run/media/disk/file; ls /run/docker 2>/dev/null; ls /run")).out).toBe(
      "found\nlock\nmedia\npostgresql\nsystemd\ntmp",
    );
  });
});
