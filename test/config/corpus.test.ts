import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseFlyToml } from "../../src/config/parse-fly-toml.ts";

// Real files of other people are no part of the repository: where they are not, the tests are skipped, CI included.
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CORPUS = resolve(ROOT, process.env["FLYCAST_CORPUS"] ?? "../shared/corpus/fly-toml");
const present = existsSync(CORPUS);

/** `errors`: rule@path. `warnings`: rules, in any number. Written by reading each file against the platform's reference. */
interface Expected {
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * One line a file: name, then what is expected. `ok`, or a list of words: `rule@path` is an error, `~rule` a warning.
 * FORCE: force_https in [http_service]. FORCE80: force_https in the first port of the first service.
 */
const EXPECTED = `
0-Mqix__cryptomania FORCE
00-ld__homework-system FORCE80 bad-concurrency@services[0].concurrency
000000f0__blackjack21 FORCE
0000nebu__tarbot FORCE
01100100__waterworks FORCE
021327__microposts FORCE
03c__hardcopy FORCE80
0916dhkim__dnd-demo FORCE
0Zeno__qrAPI FORCE
0bs-chat__crawler FORCE
0bs-chat__doc_processor FORCE
0swin__0swinGPT FORCE
0ussamaBernou__football-players-api FORCE80
0x0shephard__faucet FORCE
After-the-End-of-All-Things__game FORCE80
AlexJeffcott__fairfox FORCE
AlexJeffcott__fairfox__turn_fly ~udp-service
AliNisarAhmed__net-worth-calc__server_fly FORCE
Ananym__proxchat-tk__server_fly FORCE ~retired-key
DoggoMan__foxhole-war-map__deploy_fly FORCE80
Fondson__relatedanime__fly_redis_fly ok
Fondson__relatedanime__server_fly FORCE80
GrottoPress__penny FORCE
GrottoPress__penny__fly.staging FORCE
HughPowell__restaurant__infra_fly FORCE
JonoGitty__yap-protocol__deploy_fly FORCE
JoshuaOliphant__digital-garden FORCE
LipJ01__fly-ssh-bastion__deploy_fly ok
MaxPayne89__prime-youth FORCE
MaxPayne89__prime-youth__fly.production FORCE
PluralKit__PluralKit__docs_fly ok
Reality-Hack__realityhack.world-backend FORCE
Reality-Hack__realityhack.world-backend__fly.production FORCE
SuffolkLITLab__EfileProxyServer__scripts_fly.production ok
SuffolkLITLab__EfileProxyServer__scripts_fly ok
WebApp1018__aerl__boundary_fly FORCE80
WebApp1018__aerl__cnsmr_fly ok
WebApp1018__aerl__grafana_fly FORCE
WebApp1018__aerl__log-shipper_fly ~no-ports
abdihashii__haven__apps_api_fly FORCE
alisinabh__badgify__fly.production FORCE
bloopgames__bloop__infra_fly FORCE
cheezy__kanban__fly.production FORCE
cheezy__kanban__fly.review FORCE
clxrityy__daily-set FORCE
clxrityy__daily-set__nats_fly ~no-ports ~command-is-arguments
clxrityy__daily-set__realtime_fly FORCE
d-led__domo-tryout__proxy_fly FORCE
d-led__domo-tryout__server_fly ~retired-key
dert-gg__dert-gg__fly.log-shipper FORCE ~no-ports
dert-gg__dert-gg__fly.production FORCE
dert-gg__dert-gg__fly.staging FORCE
edgi-govdata-archiving__edgi-cloud FORCE
edgi-govdata-archiving__edgi-cloud__fly-staging FORCE
epicweb-dev__epic-stack FORCE80
flessner__flessner__umami_fly.db ok
flessner__flessner__umami_fly FORCE ~stops-for-good
flessner__flessner__website_fly FORCE ~stops-for-good
fly-apps__6pn-demo-chat__example-fly ok
fly-apps__actioncable-tester FORCE80
fly-apps__appkata-minio ok
fly-apps__autoscale-to-zero-demo FORCE80
fly-apps__cockroachdb ok
fly-apps__distributed-warp ok
fly-apps__docker-daemon ok
fly-apps__dockerfile-node__test_base_litefs_fly ~missing-app-name
fly-apps__dockerfile-node__test_frameworks_remix-blues_fly ~missing-app-name ~no-internal-port
fly-apps__dockerfile-node__test_frameworks_remix-indie_fly ~missing-app-name ~no-internal-port ~unknown-key
fly-apps__dockerfile-rails__test_results_litestream_fly ~missing-app-name
fly-apps__dockerfile-rails__test_results_no_prep_fly ~missing-app-name
fly-apps__dockerfile-rails__test_results_sidekiq_fly ~missing-app-name
fly-apps__dockerfile-rails__test_results_solid_queue_postgres_fly ~missing-app-name
fly-apps__elixir_prom_ex_example__grafana_fly bad-app-name@app
fly-apps__elixir_prom_ex_example__todo_list_fly bad-app-name@app
fly-apps__fly-autoscaler-example__fly.metric ok
fly-apps__fly-autoscaler-example__fly.scaler ok
fly-apps__fly-autoscaler-example__fly.worker ok
fly-apps__fly-autoscaler-temporal-example__fly.scaler ok
fly-apps__fly-autoscaler-temporal-example__fly.worker ok
fly-apps__fly-laravel-litefs FORCE
fly-apps__flycurl ok
fly-apps__global-apollo-server ok
fly-apps__globe-request-mapper ~unknown-key
fly-apps__grafana ok
fly-apps__grpc-service__web-proxy_fly.template ~missing-app-name
fly-apps__hahooks-go FORCE
fly-apps__hello_elixir__fly.example FORCE
fly-apps__keydb ok
fly-apps__litevfs-demo__fly_fly FORCE
fly-apps__nginx-cluster ok
fly-apps__not-midjourney-bot__bot_fly ok
fly-apps__not-midjourney-bot__server_fly ok
fly-apps__oban_example FORCE
fly-apps__ollama-demo ~missing-app-name
fly-apps__open-pickle-jar FORCE
fly-apps__openresty-basic ok
fly-apps__postgres-flex ~missing-app-name
fly-apps__postgres-ha ok
fly-apps__privatenet ok
fly-apps__rails-on-fly ok
fly-apps__redis-geo-cache ~missing-app-name
fly-apps__redis ok
fly-apps__rqlite__fly.source ok
fly-apps__smokescreen__fly.source ok
fly-apps__udp-echo- ~udp-service
fly-apps__user-env-api ~missing-app-name
fly-apps__wps FORCE
foldaway__mrtdown-site__fly.preview FORCE
foldaway__mrtdown-site__fly.production FORCE
foldaway__mrtdown-site__fly.staging FORCE
forge42dev__supabase-realtime__fly.production ~missing-app-name ~no-internal-port
forge42dev__supabase-realtime__fly.staging ~missing-app-name ~no-internal-port
gadgetro-id__infrastructure__lemmy-ui_fly ok
gadgetro-id__infrastructure__lemmy_fly ok
gadgetro-id__infrastructure__mlmym_fly FORCE
gadgetro-id__infrastructure__pictrs_fly ok
jbrwn__catfood ok
jbrwn__catfood__certbot_fly ok
jbrwn__catfood__proxy_fly FORCE80
jjordy__vai FORCE
jjordy__vai__infra_fly FORCE
jpillora__chisel__example_fly ok
kelvinn__changedetection FORCE ~no-ports ~no-internal-port
livebook-dev__livebook__iframe_fly ok
openstatusHQ__openstatus__apps_checker_fly FORCE
openstatusHQ__openstatus__apps_private-location_fly FORCE
openstatusHQ__openstatus__apps_screenshot-service_fly FORCE
openstatusHQ__openstatus__apps_server_fly FORCE
patte__fly-tailscale-exit ok
pcrockett__mollysocket-fly__fly.template ~missing-app-name
replygirl__nearest-neighbor__apps_web_fly.preview FORCE
replygirl__nearest-neighbor__apps_web_fly.production FORCE
replygirl__nearest-neighbor__apps_web_fly.staging FORCE
ronny__fly-tailscale-exit only-udp@services ~udp-service
ryanpbrewster__address.chat__api_fly ok
ryanpbrewster__address.chat__nats_fly ok
shokohsc__flyctl-rathole ok
silverlyra__flytrap FORCE
superfly__corrosion__.antithesis_corrosion_fly ok
superfly__fly-log-shipper ok
superfly__flyctl__testdata_always-invalid-v2 wrong-type@services[0].concurrency ~no-ports
superfly__flyctl__testdata_build ok
superfly__flyctl__testdata_compose-autodetect ok
superfly__flyctl__testdata_compose ok
superfly__flyctl__testdata_docker ok
superfly__flyctl__testdata_full-reference bad-value@deploy.strategy bad-value@http_service.concurrency.type FORCE missing-processes@http_service unknown-group@services[0].processes[0] unknown-handler@services[0].ports[0].handlers[0] force-https-without-http@services[0].ports[0].force_https http-options-without-http@services[0].ports[0].http_options port-claimed-twice@services[0].ports[0].port ~check-duration ~unknown-group
superfly__flyctl__testdata_image ok
superfly__flyctl__testdata_old-format ok
superfly__flyctl__testdata_old-processes ~missing-app-name
superfly__flyctl__testdata_processes-multi ok
superfly__flyctl__testdata_processes-multiwithapp ok
superfly__flyctl__testdata_processes-one ok
superfly__flyctl__testdata_services-emptysection ok
superfly__flyctl__testdata_services-multi ~no-ports
superfly__flyctl__testdata_services-ports http-options-without-http@services[0].ports[0].http_options ~tls-options-without-tls
superfly__flyctl__testdata_setters-processes ok
superfly__flyctl__testdata_setters-service ~no-ports ~no-internal-port
superfly__flyctl__testdata_tomachine-compute ok
superfly__flyctl__testdata_tomachine-hostdedicationid ok
superfly__flyctl__testdata_tomachine-mounts ok
superfly__flyctl__testdata_tomachine-services FORCE ~no-ports
superfly__flyctl__testdata_tomachine FORCE
superfly__flyctl__testdata_validate-groups ~udp-service ~relative-destination
superfly__flyctl__testdata_validate-mounts volume-size@mounts[0].initial_size bad-size@mounts[1].initial_size ~relative-destination
superfly__flyctl__testdata_validate-services missing-processes@services[0] ~no-ports
superfly__tokenizer ~missing-app-name
vivithecanine__headscale-fly__app_fly bad-app-name@app
vivithecanine__headscale-fly__proxy_fly bad-app-name@app FORCE80
vivithecanine__vaultwarden-fly bad-app-name@app FORCE80
willnorris__ipn-dns only-udp@services ~udp-service
zllovesuki__specter ~udp-service
`;

const ALIASES: Readonly<Record<string, string>> = {
  FORCE: "force-https@http_service.force_https",
  FORCE80: "force-https@services[0].ports[0].force_https",
};

function parseTable(): ReadonlyMap<string, Expected> {
  const rows = EXPECTED.trim().split("\n");
  return new Map(
    rows.map((row) => {
      const [name = "", ...words] = row.split(" ");
      const full = words.filter((word) => word !== "ok").map((word) => ALIASES[word] ?? word);
      const warnings = full.filter((word) => word.startsWith("~")).map((word) => word.slice(1));
      return [
        `${name}.toml`,
        { errors: full.filter((word) => !word.startsWith("~")).toSorted(), warnings: warnings.toSorted() },
      ];
    }),
  );
}

describe.skipIf(!present)("every real fly.toml has the outcome that reading it gives", () => {
  const table = parseTable();

  test("the table and the folder list the same files", () => {
    expect([...table.keys()].toSorted()).toEqual(readdirSync(CORPUS).toSorted());
  });

  for (const [name, expected] of table) {
    test(name, () => {
      const { config, problems } = parseFlyToml(readFileSync(join(CORPUS, name), "utf8"), name);
      const errors = problems.filter((problem) => problem.grade === "error");
      const warnings = problems.filter((problem) => problem.grade === "warning");
      expect(errors.map(({ rule, path }) => `${rule}@${path}`).toSorted()).toEqual(expected.errors);
      expect([...new Set(warnings.map(({ rule }) => rule))].toSorted()).toEqual(expected.warnings);
      expect(config === undefined).toBe(errors.length > 0);
      for (const problem of problems) expect(problem.line, problem.message).toSatisfy(placed(problem.rule));
    });
  }

  test("with force_https allowed, a file that was refused for nothing else loads", () => {
    for (const [name, { errors }] of table) {
      if (errors.length === 0 || errors.some((error) => !error.startsWith("force-https@"))) continue;
      const allow = new Set(["force_https"]);
      const { config, problems } = parseFlyToml(readFileSync(join(CORPUS, name), "utf8"), name, { allow });
      expect(problems.filter((problem) => problem.grade === "error")).toEqual([]);
      expect(problems.map(({ rule }) => rule)).toContain("force-https");
      expect(config?.services.length).toBeGreaterThan(0);
    }
  });
});

/** Everything but a missing name has a place in the file. */
function placed(rule: string): (line: unknown) => boolean {
  return (line) => (rule === "missing-app-name" || rule === "only-udp" ? true : typeof line === "number");
}
