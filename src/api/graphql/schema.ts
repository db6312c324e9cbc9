import { MUTATION_TYPES } from "./schema-mutations.ts";

/**
 * The part of the platform's GraphQL schema that its command line needs (reference §6.5, §9.4, §10.5). Names and nullability
 * follow what clients write in their queries; nothing else is offered.
 */
export const SDL = /* GraphQL */ `
  scalar ISO8601DateTime
  scalar JSON
  scalar BigInt

  type Query {
    viewer: Principal!
    apps(type: String, first: Int, after: String, organizationId: ID, role: String): AppConnection!
    app(name: String, internalId: String): App
    appNameAvailable(name: String!): Boolean!
    machine(machineId: String!): Machine!
    organization(slug: String, id: ID): Organization
    organizations(admin: Boolean, type: String, first: Int, after: String): OrganizationConnection!
    personalOrganization: Organization!
    nearestRegion(wireguardGateway: Boolean): Region!
    platform: PlatformInformation!
    latestImageDetails(image: String!, flyVersion: String): ImageVersion!
    canPerformBluegreenDeployment(name: String!): Boolean!
  }

  type Mutation {
    createApp(input: CreateAppInput!): CreateAppPayload
    deleteApp(input: DeleteAppInput, appId: ID): DeleteAppPayload
    createOrganization(input: CreateOrganizationInput!): CreateOrganizationPayload
    allocateIpAddress(input: AllocateIPAddressInput!): AllocateIPAddressPayload
    releaseIpAddress(input: ReleaseIPAddressInput!): ReleaseIPAddressPayload
    addWireGuardPeer(input: AddWireGuardPeerInput!): AddWireGuardPeerPayload
    removeWireGuardPeer(input: RemoveWireGuardPeerInput!): RemoveWireGuardPeerPayload
    validateWireGuardPeers(input: ValidateWireGuardPeersInput!): ValidateWireGuardPeersPayload
  }

  interface Principal {
    id: ID
    name: String
    email: String!
  }
  type User implements Principal {
    id: ID
    name: String
    email: String!
    enablePaidHobby: Boolean!
  }
  type Macaroon implements Principal {
    id: ID
    name: String
    email: String!
  }

  type PageInfo {
    hasNextPage: Boolean!
    endCursor: String
  }
  type AppConnection {
    totalCount: Int!
    pageInfo: PageInfo!
    nodes: [App!]!
  }
  type OrganizationConnection {
    totalCount: Int!
    pageInfo: PageInfo!
    nodes: [Organization!]!
  }

  type App {
    id: ID!
    internalNumericId: BigInt!
    name: String!
    hostname: String
    cnameTarget: String
    deployed: Boolean!
    status: String!
    appUrl: String
    platformVersion: String
    network: String
    version: Int!
    createdAt: ISO8601DateTime!
    organization: Organization!
    role: AppRole
    currentRelease: Release
    currentReleaseUnprocessed: Release
    releases(first: Int, last: Int, after: String): ReleaseConnection!
    releasesUnprocessed(first: Int, last: Int, after: String): ReleaseConnection!
    ipAddresses(first: Int, after: String): IPAddressConnection!
    egressIpAddresses(first: Int, after: String): EgressIPAddressConnection!
    sharedIpAddress: String
    machines(first: Int, after: String, active: Boolean): MachineConnection!
    allocations(showCompleted: Boolean): [Allocation!]!
    hostIssues(first: Int): HostIssueConnection!
    services: [AppService!]!
    regions: [Region!]
  }
  type AppService {
    description: String!
  }
  type AppRole {
    name: String!
  }
  type Release {
    id: ID!
    version: Int!
    stable: Boolean!
    inProgress: Boolean!
    description: String!
    reason: String!
    status: String!
    imageRef: String
    evaluationId: String
    user: User
    createdAt: ISO8601DateTime!
  }
  type ReleaseConnection {
    nodes: [Release!]!
  }
  type IPAddress {
    id: ID!
    address: String!
    type: String!
    region: String
    network: Network
    serviceName: String
    createdAt: ISO8601DateTime!
  }
  type IPAddressConnection {
    nodes: [IPAddress!]!
  }
  type EgressIPAddress {
    id: ID!
    ip: String!
    version: Int!
    region: String!
    updatedAt: ISO8601DateTime!
  }
  type EgressIPAddressConnection {
    nodes: [EgressIPAddress!]!
  }
  type Network {
    id: ID!
    name: String!
    organization: Organization!
  }
  type Allocation {
    id: ID!
    idShort: ID!
    region: String!
    status: String!
    privateIP: String
    version: Int!
    createdAt: ISO8601DateTime!
  }
  type MachineConnection {
    nodes: [Machine!]!
  }
  type MachineIP {
    kind: String!
    family: String!
    ip: String!
  }
  type MachineIPConnection {
    nodes: [MachineIP!]!
  }
  type Machine {
    id: String!
    name: String!
    state: String!
    region: String!
    instanceId: String!
    createdAt: ISO8601DateTime!
    app: App!
    ips: MachineIPConnection!
  }
  type HostIssue {
    internalId: String!
    message: String!
    createdAt: ISO8601DateTime!
    updatedAt: ISO8601DateTime!
  }
  type HostIssueConnection {
    nodes: [HostIssue!]!
  }

  type Organization {
    id: ID!
    internalNumericId: BigInt!
    slug: String!
    rawSlug: String!
    name: String!
    type: String!
    paidPlan: Boolean!
    billable: Boolean!
    viewerRole: String!
    settings: JSON
    remoteBuilderImage: String!
    remoteBuilderApp: App
    members: OrganizationMembershipsConnection!
    wireGuardPeers(first: Int, after: String): WireGuardPeerConnection!
    wireGuardPeer(name: String!): WireGuardPeer
    allowedReplaySourceOrgSlugs: [String!]!
    allowAllCrossNetworkReplays: Boolean!
  }
  type OrganizationMembershipsConnection {
    edges: [OrganizationMembershipsEdge!]!
  }
  type OrganizationMembershipsEdge {
    cursor: String!
    node: User!
    joinedAt: ISO8601DateTime!
    role: String!
  }
  type WireGuardPeer {
    id: ID!
    name: String!
    pubkey: String!
    region: String!
    peerip: String!
  }
  type WireGuardPeerConnection {
    nodes: [WireGuardPeer!]!
  }

  type Region {
    code: String!
    name: String!
    latitude: Float
    longitude: Float
    gatewayAvailable: Boolean!
    requiresPaidPlan: Boolean!
    deprecated: Boolean!
  }
  type PlatformInformation {
    requestRegion: String
    regions: [Region!]!
  }
  type ImageVersion {
    registry: String!
    repository: String!
    tag: String!
    version: String
    digest: String!
  }

  ${MUTATION_TYPES}
`;
