import { readFileSync } from "node:fs";
import { platform } from "node:os";
import { labCommand, STEP_MARK } from "./init.ts";
import { isPrivileged } from "./privileges.ts";
import { run } from "./run.ts";

export type LabProbe =
  /** `nft`: nftables works too. Without it isolation comes from routing rules. */
  | { readonly ok: true; readonly nft: boolean; readonly nftReason: string | undefined }
  | {
      readonly ok: false;
      /** The step that failed, in words that go after "cannot". */
      readonly step: string;
      /** What the program said, trimmed. */
      readonly stderr: string;
      /** What the user can do about it. */
      readonly remedy: string;
    };

/** Everything that the lab is made of, once: a veth pair into another namespace, a whole prefix as local, the rules. */
const TRY = `
fail() { echo "${STEP_MARK}$1" >&2; exit 71; }
unshare --net --mount true || fail "make a second namespace"
printf '%s\\n' "link add name fcprobe type veth peer name fcpeer" "link set dev fcprobe addrgenmode none up" \\
  "route add local fdaa:0:18:0:1::/80 dev lo" | ip -batch - || fail "make a veth pair"
nsenter --version > /dev/null || fail "run nsenter (util-linux)"
setpriv --no-new-privs --inh-caps=-all --ambient-caps=-all --bounding-set=-all,+net_raw true || fail "drop capabilities"
if complaint=$(nft -f - 2>&1 <<RULES
table inet flycast {
  set x { type ipv6_addr . ipv6_addr; flags interval; }
  set y { type ifname . ipv6_addr; }
  chain c {
    type filter hook input priority 0;
    iifname . ip6 saddr @y accept
    ip6 saddr . ip6 daddr @x reject with tcp reset
  }
}
RULES
)
then echo nft=yes; else echo "nft=$complaint"; fi
`;

/**
 * Finds out whether this user can have a lab here, by making a throw-away one (about 50 ms); nothing of it stays. Never
 * rejects. Reading sysctls would not do: containers, AppArmor and seccomp refuse in ways that show nowhere else.
 */
export async function probeLab(): Promise<LabProbe> {
  if (platform() !== "linux") {
    return refusal("make namespaces", `this is ${platform()}`, "the lab needs Linux; loopback mode works everywhere");
  }
  const privileged = isPrivileged();
  const lab = labCommand({ privileged, folder: "/" }, ["sh", "-c", TRY]);
  const result = await run(lab.argv, { timeout: 10_000, env: lab.env });
  if (result.code === 0) {
    const answer = /^nft=([^]*)$/m.exec(result.stdout)?.[1]?.trim() ?? "no answer";
    return answer === "yes"
      ? { ok: true, nft: true, nftReason: undefined }
      : { ok: true, nft: false, nftReason: firstLine(answer) };
  }
  const lines = result.stderr.split("\n");
  const marked = lines.find((line) => line.startsWith(STEP_MARK));
  const said = lines
    .filter((line) => !line.startsWith(STEP_MARK))
    .join("\n")
    .trim();
  const step = marked?.slice(STEP_MARK.length) ?? earlyStep(said);
  return refusal(step, said, remedyFor(said, step));
}

function refusal(step: string, stderr: string, remedy: string): LabProbe {
  return { ok: false, step, stderr, remedy };
}

/** Before process 1 runs there is no mark: only the program's own words. */
function earlyStep(said: string): string {
  if (/ENOENT/.test(said)) return `run ${/spawn (\S+)/.exec(said)?.[1] ?? "a program"} (util-linux)`;
  if (/^setpriv:.*(not found|No such file|failed to execute)/m.test(said)) return "run unshare (util-linux)";
  return "make namespaces";
}

function remedyFor(said: string, step: string): string {
  if (/ENOENT|not found|No such file/.test(said) || step.startsWith("run ")) {
    return "install util-linux (unshare, nsenter, setpriv, mount) and iproute2 (ip)";
  }
  if (/unrecognized option|invalid option|unknown option/.test(said)) {
    return "install a newer util-linux: this one lacks an option (2.38 is known to work; busybox's programs are not enough)";
  }
  if (/No space left on device/.test(said) || kernelSetting("user/max_user_namespaces") === "0") {
    return "user namespaces are switched off: sudo sysctl user.max_user_namespaces=15000, or run as root";
  }
  if (kernelSetting("kernel/apparmor_restrict_unprivileged_userns") === "1" && !isPrivileged()) {
    return "AppArmor forbids user namespaces: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run as root";
  }
  if (kernelSetting("kernel/unprivileged_userns_clone") === "0" && !isPrivileged()) {
    return "user namespaces are for root only: sudo sysctl kernel.unprivileged_userns_clone=1, or run as root";
  }
  if (/IPv6/.test(step)) return "the kernel runs without IPv6: remove ipv6.disable=1 from its command line";
  if (/veth/.test(step)) return "the kernel lacks veth interfaces: sudo modprobe veth";
  if (/Operation not permitted|Permission denied|denied/.test(said)) {
    return "namespaces are forbidden here, as in most containers: start the container with --privileged, or run outside it";
  }
  return "run flycast doctor as root to see whether it works there";
}

function kernelSetting(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name}`, "utf8").trim();
  } catch {
    return undefined;
  }
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? text;
}
