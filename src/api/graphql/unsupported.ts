import { Kind, type DocumentNode, type GraphQLSchema } from "graphql";

const PUBLIC = "this node has private addresses only";
const IMAGES = "this node runs commands and builds no images: deploy with --image, or with `flycast deploy FOLDER`";
const REPLAY = "the app that is replayed to says from where: `replay_from` in flycast.toml";
const SSH = "there is no SSH into Machines here: `flyctl machine exec`, or `flycast exec` for a shell on the network";
const ADD_ONS = "there are no extensions here: run what you need as an app";
const MEMBERS = "organisations have no members here: make a token, `flycast tokens create -o ORG`";
const CERTIFICATES = "certificates for .flycast names are made by the node itself, see `flycast ca`";
const DOMAINS = "this node sells no domains and serves no public DNS";

/** Operations of the platform that clients ask for and this node does not have, and what to do instead. */
const WHY: Readonly<Record<string, string>> = {
  moveApp: "an app stays in its organisation for life: make it anew there",
  createOrganizationInvitation: MEMBERS,
  deleteOrganizationMembership: MEMBERS,
  deleteOrganization: "organisations stay: their network's number must never be used again",
  issueCertificate: SSH,
  establishSshKey: SSH,
  allocateEgressIpAddress: PUBLIC,
  releaseEgressIpAddress: PUBLIC,
  addCertificate: CERTIFICATES,
  deleteCertificate: CERTIFICATES,
  checkCertificate: CERTIFICATES,
  importCertificate: CERTIFICATES,
  ensureMachineRemoteBuilder: IMAGES,
  ensureDepotRemoteBuilder: IMAGES,
  setRemoteBuilder: IMAGES,
  updateRemoteBuilder: IMAGES,
  addAllowedReplaySourceOrgs: REPLAY,
  removeAllowedReplaySourceOrgs: REPLAY,
  setAllowAllCrossNetworkReplays: REPLAY,
  createDelegatedWireGuardToken: "WireGuard clients are made one by one: wireguard create",
  deleteDelegatedWireGuardToken: "there are none, since WireGuard clients are made one by one",
  attachPostgresCluster: "run Postgres as an app, see examples/postgres",
  detachPostgresCluster: "run Postgres as an app, see examples/postgres",
  enablePostgresConsul: "there is no Consul here",
  postgresAttachments: "run Postgres as an app, see examples/postgres",
  addOn: ADD_ONS,
  addOns: ADD_ONS,
  addOnPlans: ADD_ONS,
  addOnProvider: ADD_ONS,
  createAddOn: ADD_ONS,
  updateAddOn: ADD_ONS,
  deleteAddOn: ADD_ONS,
  domain: DOMAINS,
  createDomain: DOMAINS,
  lockApp: "Machines are leased one by one: POST /v1/apps/APP/machines/ID/lease",
  unlockApp: "Machines are leased one by one: DELETE /v1/apps/APP/machines/ID/lease",
  createVolume: "volumes are folders, made where a Machine's mounts name them",
  createDoctorUrl: "`flycast doctor` looks at this computer",
};

/** The first operation of a document that the schema does not have, in words. Undefined: it has them all. */
export function unsupportedOperation(schema: GraphQLSchema, document: DocumentNode): string | undefined {
  for (const definition of document.definitions) {
    if (definition.kind !== Kind.OPERATION_DEFINITION) continue;
    const known = schema.getRootType(definition.operation)?.getFields() ?? {};
    for (const selection of definition.selectionSet.selections) {
      if (selection.kind !== Kind.FIELD) continue;
      const name = selection.name.value;
      if (Object.hasOwn(known, name) || name.startsWith("__")) continue;
      const why = Object.hasOwn(WHY, name) ? `: ${WHY[name]}` : "";
      return `this node does not support the ${definition.operation} "${name}"${why}`;
    }
  }
  return undefined;
}
