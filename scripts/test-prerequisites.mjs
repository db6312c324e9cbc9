// Sees to it that the programs which the tests use are there. On Debian as root missing packages are installed; elsewhere they
// are named, and the tests that need them are listed as skipped at the end. With CI=true a missing one is a failure.
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

/** program, or file → Debian package that holds it. */
const PROGRAMS = {
  ip: "iproute2",
  nft: "nftables",
  unshare: "util-linux",
  setpriv: "util-linux",
  nsenter: "util-linux",
  prlimit: "util-linux",
  curl: "curl",
  openssl: "openssl",
  dig: "bind9-dnsutils",
  "redis-server": "redis-server",
  wg: "wireguard-tools",
  "wireguard-go": "wireguard-go",
  strace: "strace",
  ping: "iputils-ping",
  psql: "postgresql-client",
  initdb: "postgresql",
  haproxy: "haproxy",
  nginx: "nginx-light",
  "/usr/lib/nginx/modules/ngx_stream_module.so": "libnginx-mod-stream",
  h2load: "nghttp2-client",
  slowhttptest: "slowhttptest",
  socat: "socat",
  ncat: "ncat",
  sshd: "openssh-server",
  iperf3: "iperf3",
  kdig: "knot-dnsutils",
  dnsmasq: "dnsmasq-base",
  unbound: "unbound",
  "musl-gcc": "musl-tools",
  python3: "python3-minimal",
  tcpdump: "tcpdump",
  tmux: "tmux",
  pasta: "passt",
  slirp4netns: "slirp4netns",
};

// Debian keeps the server programs of each version of PostgreSQL in a folder of its own.
const POSTGRES = "/usr/lib/postgresql";
const folders = () => [
  ...(process.env.PATH ?? "").split(delimiter),
  "/usr/sbin",
  "/sbin",
  "/usr/bin",
  "/bin",
  ...(existsSync(POSTGRES) ? readdirSync(POSTGRES).map((version) => join(POSTGRES, version, "bin")) : []),
];
const isThere = (program) =>
  program.startsWith("/")
    ? existsSync(program)
    : folders().some((folder) => {
        try {
          accessSync(join(folder, program), constants.X_OK);
          return true;
        } catch {
          return false;
        }
      });
const missing = () => Object.keys(PROGRAMS).filter((program) => !isThere(program));

let absent = missing();
const debian = existsSync("/etc/debian_version") && isThere("apt-get");
if (absent.length > 0 && debian && process.getuid?.() === 0) {
  const packages = [...new Set(absent.map((program) => PROGRAMS[program]))];
  console.log(`installing what the tests need: ${packages.join(" ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  // A package's own service must not start: tests start what they need, on ports of their own.
  const apt = (...args) => spawnSync("apt-get", args, { env, stdio: ["ignore", "ignore", "inherit"] });
  const install = () => apt("install", "-y", "-qq", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", ...packages);
  if (install().status !== 0) {
    apt("update", "-qq");
    install();
  }
  absent = missing();
}
if (absent.length > 0) {
  console.log("These programs are missing; the tests that need them are skipped, and listed at the end:");
  for (const program of absent) console.log(`  ${program.padEnd(14)} Debian package ${PROGRAMS[program]}`);
  if (!debian)
    console.log(
      `  (this is ${/PRETTY_NAME="?([^"\n]*)/.exec(existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "")?.[1] ?? process.platform}; use its own packages)`,
    );
  if (process.env.CI === "true") {
    console.log("CI=true: a missing prerequisite is a failure.");
    process.exit(1);
  }
}
