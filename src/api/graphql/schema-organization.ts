/** Organisations, their tokens and their WireGuard clients. */
export const ORGANIZATION_TYPES = /* GraphQL */ `
  type OrganizationConnection {
    totalCount: Int!
    pageInfo: PageInfo!
    nodes: [Organization!]!
  }
  type Organization {
    id: ID!
    internalNumericId: BigInt!
    slug: String!
    rawSlug: String!
    name: String!
    type: OrganizationType!
    paidPlan: Boolean!
    billable: Boolean!
    billingStatus: String!
    viewerRole: String!
    settings: JSON
    addOnSsoLink: String
    provisionsBetaExtensions: Boolean!
    agreedToProviderTos(providerName: String!): Boolean!
    remoteBuilderImage: String!
    remoteBuilderApp: App
    members: OrganizationMembershipsConnection!
    apps(first: Int, last: Int, after: String, before: String): AppConnection!
    wireGuardPeers(first: Int, last: Int, after: String, before: String): WireGuardPeerConnection!
    wireGuardPeer(name: String!): WireGuardPeer
    delegatedWireGuardTokens(first: Int, after: String): DelegatedWireGuardTokenConnection!
    limitedAccessTokens(first: Int, last: Int, after: String, before: String): LimitedAccessTokenConnection!
    loggedCertificates(first: Int, after: String): LoggedCertificateConnection
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
  type DelegatedWireGuardToken {
    id: ID!
    name: String!
  }
  type DelegatedWireGuardTokenConnection {
    nodes: [DelegatedWireGuardToken!]!
  }
  type LoggedCertificate {
    id: ID!
    root: Boolean!
    cert: String!
  }
  type LoggedCertificateConnection {
    nodes: [LoggedCertificate!]!
  }
  type LimitedAccessToken {
    id: ID!
    name: String!
    profile: String!
    "Empty in lists: a token is told once, when it is made."
    token: String!
    tokenHeader: String
    organization: Organization!
    user: User!
    createdAt: ISO8601DateTime!
    expiresAt: ISO8601DateTime!
    revokedAt: ISO8601DateTime
  }
  type LimitedAccessTokenConnection {
    totalCount: Int!
    nodes: [LimitedAccessToken!]!
  }
`;
