/**
 * What the platform's command line asks of GraphQL: the fields that each of its operations selects, and the types of its
 * variables (superfly/fly-go `resource_*.go`, superfly/flyctl `gql/`; versions of the last two years). Those with a name come
 * from generated code, which sends it as `operationName`.
 */
export interface FlyctlDocument {
  readonly query: string;
  readonly operationName?: string;
}

const org = "id slug rawSlug paidPlan";
/** A fragment that every generated query about an app spreads. */
const APP_DATA = `
  fragment AppData on App { id name deployed platformVersion organization { ... OrganizationData } }
  fragment OrganizationData on Organization { ${org} addOnSsoLink provisionsBetaExtensions }`;
const RELEASE = "id version description reason status imageRef stable user { id email name } createdAt";
const SET_RELEASE = "release { id version reason description user { id email name } evaluationId createdAt }";
const PEER = "id name pubkey region peerip";
const MACHINE =
  "id name config state region createdAt app { name } ips { nodes { family kind ip maskSize } } host { id }";
const IP = "id address type region createdAt";
const LONG_APP = `id name hostname deployed status version appUrl platformVersion
  currentRelease { evaluationId status inProgress version }
  organization { id slug paidPlan }
  ipAddresses { nodes { id address type createdAt } }
  imageDetails { registry repository tag digest version }
  machines { nodes { ${MACHINE} } }
  postgresAppRole: role { name }
  limitedAccessTokens { nodes { id name expiresAt } }`;
const SERVICES = "services { description protocol internalPort ports { port handlers } } config { definition }";

const plain = (query: string): FlyctlDocument => ({ query });
const named = (operationName: string, rest: string): FlyctlDocument => ({
  operationName,
  query: rest.replace(/^(query|mutation)/, `# @genqlient\n$1 ${operationName} `),
});

export const VIEWER = plain(`query { viewer { ... on User { id email enablePaidHobby } ... on Macaroon { email } } }`);

export const ORGS = {
  list: plain(`query($admin: Boolean!) { organizations(admin: $admin) { nodes {
    id slug rawSlug name type paidPlan billable viewerRole internalNumericId } } }`),
  bySlug:
    plain(`query($slug: String!) { organization(slug: $slug) { id internalNumericId slug rawSlug name type billable
    limitedAccessTokens { nodes { id name expiresAt revokedAt user { email } } } } }`),
  details: plain(`query($slug: String!) { organizationdetails: organization(slug: $slug) {
    id slug rawSlug name type viewerRole internalNumericId remoteBuilderImage remoteBuilderApp { name }
    members { edges { cursor node { id name email } joinedAt role } } } }`),
  generated: named(
    "GetOrganization",
    `query($slug: String!) { organization(slug: $slug) { ... OrganizationData } }
    fragment OrganizationData on Organization { ${org} addOnSsoLink provisionsBetaExtensions }`,
  ),
  apps: named(
    "AllApps",
    `query($orgSlug: String!) { organization(slug: $orgSlug) { apps { nodes { id createdAt } } } }`,
  ),
  create: plain(`mutation($input: CreateOrganizationInput!) { createOrganization(input: $input) {
    organization { id name slug type viewerRole } } }`),
  replays: plain(
    `query($slug: String!) { organization(slug: $slug) { allowedReplaySourceOrgSlugs allowAllCrossNetworkReplays } }`,
  ),
};

export const APPS = {
  list: plain(`query($org: ID, $role: String, $after: String) {
    apps(type: "container", first: 200, after: $after, organizationId: $org, role: $role) {
      pageInfo { hasNextPage endCursor }
      nodes { id name deployed hostname platformVersion network organization { slug name }
        currentRelease { createdAt status } status } } }`),
  long: plain(`query ($appName: String!) { app(name: $appName) { internalNumericId ${LONG_APP} ${SERVICES} } }`),
  remoteBuilder: plain(`query ($appName: String!) { app(name: $appName) { ${LONG_APP} ${SERVICES}
    organization { remoteBuilderApp { ${LONG_APP} } } } }`),
  compact: plain(`query ($appName: String!) { appcompact:app(name: $appName) {
    id internalNumericId name hostname cnameTarget deployed network status appUrl platformVersion
    organization { id internalNumericId slug paidPlan } postgresAppRole: role { name } } }`),
  basic: plain(`query ($appName: String!) { appbasic:app(name: $appName) {
    id name platformVersion organization { id internalNumericId slug rawSlug paidPlan } } }`),
  network: plain(`query ($appName: String!) { app(name: $appName) { network } }`),
  hostIssues: plain(`query($appName: String!) { apphostissues:app(name: $appName) { hostIssues {
    nodes { internalId message createdAt updatedAt } } } }`),
  nameAvailable: plain(`query ($appName: String!) { appNameAvailable(name: $appName) }`),
  generated: named("GetApp", `query($name: String!) { app(name: $name) { ... AppData } } ${APP_DATA}`),
  byRole: named(
    "GetAppsByRole",
    `query($role: String!, $organizationId: ID!) {
    apps(role: $role, organizationId: $organizationId) { nodes { ... AppData } } } ${APP_DATA}`,
  ),
  withAddOns: named(
    "GetAppWithAddons",
    `query($name: String!, $addOnType: AddOnType!) { app(name: $name) { ... AppData
    addOns(type: $addOnType) { nodes { ... AddOnData } } } } ${APP_DATA}
    fragment AddOnData on AddOn { id name primaryRegion status errorMessage metadata }`,
  ),
  lock: named("GetAppLock", `query($appName: String!) { app(name: $appName) { currentLock { lockId expiration } } }`),
  create: plain(`mutation($input: CreateAppInput!) { createApp(input: $input) { app {
    id name organization { slug } config { definition } regions { name code } } } }`),
  createGenerated: named(
    "CreateApp",
    `mutation($input: CreateAppInput!) { createApp(input: $input) { app {
    ... AppData config { definition } regions { name code } } } } ${APP_DATA}`,
  ),
  destroy: plain(`mutation($appId: ID!) { deleteApp(appId: $appId) { organization { id } } }`),
};

export const IPS = {
  list: plain(`query ($appName: String!) { app(name: $appName) {
    ipAddresses { nodes { ${IP} network { name organization { slug } } serviceName } } sharedIpAddress } }`),
  allocate: plain(
    `mutation($input: AllocateIPAddressInput!) { allocateIpAddress(input: $input) { ipAddress { ${IP} } } }`,
  ),
  allocateShared: plain(
    `mutation($input: AllocateIPAddressInput!) { allocateIpAddress(input: $input) { app { sharedIpAddress } } }`,
  ),
  release: plain(`mutation($input: ReleaseIPAddressInput!) { releaseIpAddress(input: $input) { clientMutationId } }`),
  egress: plain(`query ($appName: String!) { app(name: $appName) { machines { nodes { id
    egressIpAddresses { nodes { id ip version region } } } } } }`),
};

export const WIREGUARD = {
  create: plain(
    `mutation($input: AddWireGuardPeerInput!) { addWireGuardPeer(input: $input) { peerip endpointip pubkey } }`,
  ),
  remove: plain(
    `mutation($input: RemoveWireGuardPeerInput!) { removeWireGuardPeer(input: $input) { organization { id } } }`,
  ),
  list: plain(`query($slug: String!) { organization(slug: $slug) { wireGuardPeers { nodes { ${PEER} } } } }`),
  one: plain(
    `query($slug: String!, $name: String!) { organization(slug: $slug) { wireGuardPeer(name: $name) { ${PEER} } } }`,
  ),
  validate: plain(
    `mutation($input: ValidateWireGuardPeersInput!) { validateWireGuardPeers(input: $input) { invalidPeerIps } }`,
  ),
  nearest: plain(`query { nearestRegion(wireguardGateway: true) { code name gatewayAvailable deprecated } }`),
  tokens: plain(`query($slug: String!) { organization(slug: $slug) { delegatedWireGuardTokens { nodes { name } } } }`),
};

export const PLATFORM = {
  regions: plain(`query { platform { requestRegion regions {
    name code latitude longitude gatewayAvailable requiresPaidPlan } } }`),
  nearest: plain(`query { nearestRegion { code name gatewayAvailable deprecated } }`),
  nearestGenerated: named("GetNearestRegion", `query { nearestRegion { code name gatewayAvailable } }`),
  vmSizes: plain(`query { platform { vmSizes { name cpuCores memoryGb memoryMb priceMonth priceSecond } } }`),
};

export const MACHINES = {
  one: plain(`query ($machineId: String!) { gqlmachine:machine(machineId: $machineId) {
    id name app { name organization { id slug } } } }`),
  events: plain(`query ($machineId: String!) { gqlmachine:machine(machineId: $machineId) { instanceId
    events { nodes { id kind timestamp } } } }`),
  instances: named(
    "AgentGetInstances",
    `query($appName: String!) { app(name: $appName) { organization { slug } id name
    allocations(showCompleted: false) { id region privateIP }
    machines { nodes { state id region ips { nodes { kind family ip } } } } } }`,
  ),
};

export const RELEASES = {
  list: plain(`query($appName: String!, $limit: Int!) { app(name: $appName) {
    releases: releasesUnprocessed(first: $limit) { nodes { ${RELEASE} } } } }`),
  current: plain(`query ($appName: String!) { app(name: $appName) {
    currentRelease: currentReleaseUnprocessed { ${RELEASE} } } }`),
  version: plain(
    `query ($appName: String!) { app(name:$appName) { currentRelease:currentReleaseUnprocessed { version } } }`,
  ),
  config: named(
    "FlyctlConfigCurrentRelease",
    `query($appName: String!) { app(name: $appName) {
    currentReleaseUnprocessed { configDefinition } } }`,
  ),
  latestImage: named(
    "LatestImage",
    `query($appName: String!) { app(name: $appName) {
    currentReleaseUnprocessed { id version imageRef } } }`,
  ),
  latestImageOlder: named(
    "FlyctlDeployGetLatestImage",
    `query($appName: String!) { app(name: $appName) {
    currentReleaseUnprocessed { id version imageRef } } }`,
  ),
  create: named(
    "CreateRelease",
    `mutation($input: CreateReleaseInput!) { createRelease(input: $input) { release { id version } } }`,
  ),
  createOlder: named(
    "MachinesCreateRelease",
    `mutation($input: CreateReleaseInput!) { createRelease(input: $input) { release { id version } } }`,
  ),
  update: named(
    "UpdateRelease",
    `mutation($input: UpdateReleaseInput!) { updateRelease(input: $input) { release { id } } }`,
  ),
};

export const DEPLOY = {
  image: plain(`query ($appName: String!, $imageRef: String!) { app(name: $appName) { id
    image(ref: $imageRef) { id digest ref compressedSize: compressedSizeFull manifest } } }`),
  createBuild: named(
    "ResolverCreateBuild",
    `mutation($input: CreateBuildInput!) { createBuild(input: $input) { id status } }`,
  ),
  finishBuild: named(
    "ResolverFinishBuild",
    `mutation($input: FinishBuildInput!) { finishBuild(input: $input) { id status wallclockTimeMs } }`,
  ),
  bluegreen: plain(`query ($appName: String!) { canPerformBluegreenDeployment(name: $appName) }`),
  latestImage:
    plain(`query($image: String!, $flyVersion: String) { latestImageDetails(image: $image, flyVersion: $flyVersion) {
    registry repository tag version digest } }`),
};

export const TOKENS = {
  ofOrg: plain(`query ($slug: String!) { orgLimitedAccessTokens: organization(slug: $slug) {
    limitedAccessTokens { nodes { id name expiresAt revokedAt user { email } } } } }`),
  ofApp: plain(`query ($appName: String!) { appLimitedAccessTokens: app(name: $appName) {
    limitedAccessTokens { nodes { id name token expiresAt revokedAt user { email } } } } }`),
  create: named(
    "CreateLimitedAccessToken",
    `mutation(
    $name: String!, $organizationId: ID!, $profile: String!, $profileParams: JSON, $expiry: String!) {
    createLimitedAccessToken(input: {name: $name, organizationId: $organizationId, profile: $profile,
      profileParams: $profileParams, expiry: $expiry}) { limitedAccessToken { tokenHeader } } }`,
  ),
  revoke: plain(
    `mutation($input:DeleteLimitedAccessTokenInput!) { deleteLimitedAccessToken(input: $input) { token } }`,
  ),
};

export const SECRETS = {
  list: plain(`query ($appName: String!) { app(name: $appName) { secrets { name digest createdAt } } }`),
  set: plain(`mutation($input: SetSecretsInput!) { setSecrets(input: $input) { ${SET_RELEASE} } }`),
  unset: plain(`mutation($input: UnsetSecretsInput!) { unsetSecrets(input: $input) { ${SET_RELEASE} } }`),
};

/** Operations that have no meaning on this node, by the name that its refusal says. */
export const REFUSED: readonly (readonly [string, string])[] = [
  [
    "moveApp",
    `mutation ($input: MoveAppInput!) { moveApp(input: $input) { app { id networkId organization { slug } } } }`,
  ],
  [
    "issueCertificate",
    `mutation($input: IssueCertificateInput!) { issueCertificate(input: $input) { certificate, key } }`,
  ],
  [
    "ensureMachineRemoteBuilder",
    `mutation($input: EnsureMachineRemoteBuilderInput!) { ensureMachineRemoteBuilder(input: $input) {
    machine { id state ips { nodes { family kind ip } } }, app { name organization { id slug } } } }`,
  ],
  [
    "allocateEgressIpAddress",
    `mutation($input: AllocateEgressIPAddressInput!) { allocateEgressIpAddress(input: $input) { v4, v6 } }`,
  ],
  [
    "createDelegatedWireGuardToken",
    `mutation($input: CreateDelegatedWireGuardTokenInput!) {
    createDelegatedWireGuardToken(input: $input) { token } }`,
  ],
  [
    "addAllowedReplaySourceOrgs",
    `mutation($input: AddAllowedReplaySourceOrgsInput!) { addAllowedReplaySourceOrgs(input: $input) {
    organization { id allowedReplaySourceOrgSlugs } } }`,
  ],
  [
    "setAllowAllCrossNetworkReplays",
    `mutation($input: SetAllowAllCrossNetworkReplaysInput!) {
    setAllowAllCrossNetworkReplays(input: $input) { organization { id } } }`,
  ],
  [
    "createOrganizationInvitation",
    `mutation($input: CreateOrganizationInvitationInput!) { createOrganizationInvitation(input: $input) {
    invitation { id email createdAt redeemed organization { slug } } } }`,
  ],
  ["addOns", `query ListAddOns ($addOnType: AddOnType) { addOns(type: $addOnType) { nodes { id name } } }`],
];
