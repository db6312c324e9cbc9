/** What may be changed, and what that takes and gives (reference §6.5, §9.4, §10.5). */
export const MUTATION_TYPES = /* GraphQL */ `
  type Mutation {
    createApp(input: CreateAppInput!): CreateAppPayload
    deleteApp(input: DeleteAppInput, appId: ID): DeleteAppPayload
    createOrganization(input: CreateOrganizationInput!): CreateOrganizationPayload
    allocateIpAddress(input: AllocateIPAddressInput!): AllocateIPAddressPayload
    releaseIpAddress(input: ReleaseIPAddressInput!): ReleaseIPAddressPayload
    addWireGuardPeer(input: AddWireGuardPeerInput!): AddWireGuardPeerPayload
    removeWireGuardPeer(input: RemoveWireGuardPeerInput!): RemoveWireGuardPeerPayload
    validateWireGuardPeers(input: ValidateWireGuardPeersInput!): ValidateWireGuardPeersPayload
    createLimitedAccessToken(input: CreateLimitedAccessTokenInput!): CreateLimitedAccessTokenPayload
    deleteLimitedAccessToken(input: DeleteLimitedAccessTokenInput!): DeleteLimitedAccessTokenPayload
    setSecrets(input: SetSecretsInput!): SetSecretsPayload
    unsetSecrets(input: UnsetSecretsInput!): UnsetSecretsPayload
    createRelease(input: CreateReleaseInput!): CreateReleasePayload
    updateRelease(input: UpdateReleaseInput!): UpdateReleasePayload
    createBuild(input: CreateBuildInput!): CreateBuildPayload
    finishBuild(input: FinishBuildInput!): FinishBuildPayload
  }

  input CreateAppInput {
    clientMutationId: String
    organizationId: ID!
    name: String
    network: String
    preferredRegion: String
    machines: Boolean
    runtime: String
    appRoleId: ID
    enableSubdomains: Boolean
    heroku: Boolean
  }
  type CreateAppPayload {
    app: App!
  }
  input DeleteAppInput {
    clientMutationId: String
    appId: ID!
  }
  type DeleteAppPayload {
    organization: Organization!
  }
  input CreateOrganizationInput {
    clientMutationId: String
    name: String!
    appsV2DefaultOn: Boolean
  }
  type CreateOrganizationPayload {
    organization: Organization!
  }
  input AllocateIPAddressInput {
    clientMutationId: String
    appId: ID!
    type: IPAddressType!
    organizationId: ID
    region: String
    network: String
    serviceName: String
  }
  type AllocateIPAddressPayload {
    app: App!
    ipAddress: IPAddress
  }
  input ReleaseIPAddressInput {
    clientMutationId: String
    appId: ID
    ipAddressId: ID
    ip: String
    serviceName: String
  }
  type ReleaseIPAddressPayload {
    clientMutationId: String
    app: App!
  }
  input AddWireGuardPeerInput {
    clientMutationId: String
    organizationId: ID!
    region: String
    name: String!
    pubkey: String!
    network: String
    nats: Boolean
    gwname: String
  }
  type AddWireGuardPeerPayload {
    peerip: String!
    endpointip: String!
    pubkey: String!
  }
  input RemoveWireGuardPeerInput {
    clientMutationId: String
    organizationId: ID!
    name: String!
    nats: Boolean
  }
  type RemoveWireGuardPeerPayload {
    organization: Organization!
  }
  input ValidateWireGuardPeersInput {
    clientMutationId: String
    peerIps: [String!]!
  }
  type ValidateWireGuardPeersPayload {
    invalidPeerIps: [String!]!
    validPeerIps: [String!]!
  }
  input CreateLimitedAccessTokenInput {
    clientMutationId: String
    name: String!
    organizationId: ID!
    profile: String!
    profileParams: JSON
    expiry: String
  }
  type CreateLimitedAccessTokenPayload {
    limitedAccessToken: LimitedAccessToken!
  }
  input DeleteLimitedAccessTokenInput {
    clientMutationId: String
    id: ID
    token: String
  }
  type DeleteLimitedAccessTokenPayload {
    token: String
  }
  input SecretInput {
    key: String!
    value: String!
  }
  input SetSecretsInput {
    clientMutationId: String
    appId: ID!
    secrets: [SecretInput!]!
    replaceAll: Boolean
  }
  type SetSecretsPayload {
    app: App!
    release: Release
  }
  input UnsetSecretsInput {
    clientMutationId: String
    appId: ID!
    keys: [String!]!
  }
  type UnsetSecretsPayload {
    app: App!
    release: Release
  }
  input CreateReleaseInput {
    clientMutationId: String
    appId: ID!
    image: String
    platformVersion: String
    strategy: DeploymentStrategy
    definition: JSON
    buildId: ID
  }
  type CreateReleasePayload {
    app: App!
    release: Release!
  }
  input UpdateReleaseInput {
    clientMutationId: String
    releaseId: ID!
    status: String
    metadata: JSON
  }
  type UpdateReleasePayload {
    release: Release!
  }
  "What was built, and how: noted nowhere, since images are only names here."
  input CreateBuildInput {
    clientMutationId: String
    appName: ID!
    machineId: ID
    imageOpts: JSON
    strategiesAvailable: [String!]
    builderType: String
  }
  type CreateBuildPayload {
    id: ID!
    status: String!
  }
  input FinishBuildInput {
    clientMutationId: String
    buildId: ID!
    appName: ID!
    machineId: ID
    status: String!
    logs: String
    strategiesAttempted: JSON
    builderMeta: JSON
    finalImage: JSON
    timings: JSON
  }
  type FinishBuildPayload {
    id: ID!
    status: String!
    wallclockTimeMs: Int!
  }
`;
