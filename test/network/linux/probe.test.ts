import { execFile } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import type { LabProbe } from "../../../src/network/linux/probe.ts";
import { asUser, USERS } from "../support/lab.ts";
import { NO_LAB } from "../support/possible.ts";

const TSX = fileURLToPath(import.meta.resolve("tsx"));
const PROBE = fileURLToPath(new URL("../support/probe.ts", import.meta.url));
const NODE = [process.execPath, "--import", TSX, PROBE];

const folder = mkdtempSync(join(tmpdir(), "flycast-probe-"));
chmodSync(folder, 0o755);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The probe in a process of its own: what it finds depends on who asks. */
async function probeAs(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<LabProbe> {
  const [file = "", ...args] = argv;
  const { stdout } = await promisify(execFile)(file, args, { env: { ...process.env, ...env } });
  return JSON.parse(stdout) as LabProbe;
}

describe.skipIf(NO_LAB).each(USERS)("the probe (uid %i)", (uid) => {
  test("says yes where a lab can be made, and leaves nothing", async () => {
    expect(await probeAs([...asUser(uid), ...NODE])).toMatchObject({ ok: true });
  });

  test("says no, and why, where user namespaces are switched off", async () => {
    // The switch belongs to the user namespace in which it is set, so the computer's own stays as it is.
    const script = `echo 0 > /proc/sys/user/max_user_namespaces
      exec setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all "$@"`;
    const denied = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", script, "sh", ...NODE];
    // Root of that namespace has no right to make others.
    expect(await probeAs([...asUser(uid), ...denied])).toMatchObject({
      ok: false,
      step: "make namespaces",
      stderr: expect.stringMatching(/^unshare: /),
      remedy: expect.stringMatching(/user namespaces are switched off|namespaces are forbidden here/),
    });
  });

  test("names the program that is missing", async () => {
    // setpriv and unshare are there; ip is not, wherever it usually lies.
    for (const name of ["unshare", "setpriv", "sh", "mount", "cp", "mkdir", "umount", "rmdir", "pivot_root"]) {
      try {
        symlinkSync(name === "sh" ? "/bin/sh" : await which(name), join(folder, name));
      } catch {
        // A run before this one made it.
      }
    }
    const broken = join(folder, "ip");
    writeFileSync(broken, "#!/bin/sh\necho 'ip: not found' >&2; exit 127\n", { mode: 0o755 });
    expect(await probeAs([...asUser(uid), ...NODE], { PATH: folder })).toMatchObject({
      ok: false,
      step: "run ip (iproute2)",
      stderr: "ip: not found",
      remedy: expect.stringContaining("install util-linux (unshare, nsenter, setpriv, mount) and iproute2 (ip)"),
    });
  });

  test("says what lacks when there is no util-linux at all", async () => {
    const [file = "", ...args] = NODE;
    const enter =
      asUser(uid).length === 0 ? [file, ...args] : [await which("setpriv"), ...asUser(uid).slice(1), file, ...args];
    expect(await probeAs(enter, { PATH: "/nonexistent" })).toMatchObject({
      ok: false,
      step: "run setpriv (util-linux)",
      remedy: expect.stringContaining("install util-linux"),
    });
  });
});

async function which(name: string): Promise<string> {
  for (const dir of `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`.split(delimiter)) {
    const path = join(dir, name);
    const found = await promisify(execFile)("test", ["-x", path]).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  throw new Error(`${name} is not on this computer`);
}
