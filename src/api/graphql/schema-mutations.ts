/** What mutations take and give (reference §6.5, §9.4, §10.5). */
export const MUTATION_TYPES = /* GraphQL */ `
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
    type: String!
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
`;
