/** Apps, their Machines, releases and addresses. */
export const APP_TYPES = /* GraphQL */ `
  type AppConnection {
    totalCount: Int!
    pageInfo: PageInfo!
    nodes: [App!]!
  }
  type App {
    id: ID!
    internalId: String!
    internalNumericId: Int!
    name: String!
    hostname: String
    cnameTarget: String
    deployed: Boolean!
    state: String!
    status: String!
    appUrl: String
    platformVersion: PlatformVersionEnum
    network: String
    version: Int!
    createdAt: ISO8601DateTime!
    organization: Organization!
    role: AppRole
    config: AppConfig!
    currentLock: AppLock
    currentRelease: Release
    currentReleaseUnprocessed: Release
    releases(first: Int, last: Int, after: String, before: String): ReleaseConnection!
    releasesUnprocessed(first: Int, last: Int, after: String, before: String, status: String): ReleaseConnection!
    image(ref: String!): Image
    imageDetails: ImageVersion
    latestImageDetails: ImageVersion
    imageUpgradeAvailable: Boolean
    imageVersionTrackingEnabled: Boolean!
    ipAddress(address: String!): IPAddress
    ipAddresses(first: Int, last: Int, after: String, before: String): IPAddressConnection!
    egressIpAddresses(first: Int, last: Int, after: String, before: String): EgressIPAddressConnection!
    sharedIpAddress: String
    machine(id: String!): Machine
    machines(
      first: Int
      last: Int
      after: String
      before: String
      active: Boolean
      state: String
      version: Int
    ): MachineConnection!
    allocations(showCompleted: Boolean): [Allocation!]!
    hostIssues(first: Int, last: Int, after: String, before: String): IssueConnection
    services: [Service!]!
    regions: [Region!]!
    backupRegions: [Region!]!
    secrets: [Secret!]!
    limitedAccessTokens(first: Int, last: Int, after: String, before: String): LimitedAccessTokenConnection!
    certificates(first: Int, after: String, filter: String): AppCertificateConnection!
    addOns(type: AddOnType, first: Int, after: String): AddOnConnection!
    volumes(first: Int, after: String): VolumeConnection!
  }
  type AppConfig {
    definition: JSON!
    errors: [String!]!
    services: [Service!]!
    valid: Boolean!
  }
  type AppRole {
    name: String!
  }
  type AppLock {
    lockId: ID!
    expiration: ISO8601DateTime!
  }
  type Service {
    description: String!
    protocol: String!
    internalPort: Int!
    ports: [ServicePort!]!
  }
  type ServicePort {
    port: Int!
    startPort: Int
    endPort: Int
    handlers: [String!]!
    forceHttps: Boolean!
  }
  type Secret {
    id: ID!
    name: String!
    digest: String!
    createdAt: ISO8601DateTime!
  }
  type Release {
    id: ID!
    version: Int!
    stable: Boolean!
    inProgress: Boolean!
    description: String!
    reason: String!
    status: String!
    deploymentStrategy: DeploymentStrategy!
    imageRef: String
    evaluationId: String
    configDefinition: JSON
    metadata: JSON
    user: User
    createdAt: ISO8601DateTime!
    updatedAt: ISO8601DateTime!
  }
  type ReleaseConnection {
    totalCount: Int!
    nodes: [Release!]!
  }
  type Image {
    id: ID!
    ref: String!
    absoluteRef: String!
    registry: String!
    repository: String!
    tag: String
    label: String!
    digest: String!
    configDigest: JSON!
    config: JSON!
    manifest: JSON!
    compressedSize: Int!
    compressedSizeFull: BigInt!
    createdAt: ISO8601DateTime!
  }
  type IPAddress {
    id: ID!
    address: String!
    type: IPAddressType!
    region: String
    network: Network
    serviceName: String
    createdAt: ISO8601DateTime!
  }
  type IPAddressConnection {
    totalCount: Int!
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
  type Machine {
    id: ID!
    name: String!
    state: String!
    region: String!
    instanceId: String!
    config: JSON!
    createdAt: ISO8601DateTime!
    updatedAt: ISO8601DateTime!
    app: App!
    host: Host!
    ips(first: Int, after: String): MachineIPConnection!
    egressIpAddresses(first: Int, after: String): EgressIPAddressConnection!
    events(first: Int, last: Int, after: String, before: String, kind: String): MachineEventConnection!
  }
  type MachineConnection {
    totalCount: Int!
    nodes: [Machine!]!
  }
  type Host {
    id: ID!
  }
  type MachineIP {
    id: ID!
    kind: String!
    family: String!
    ip: String!
    maskSize: Int!
  }
  type MachineIPConnection {
    nodes: [MachineIP!]!
  }
  interface MachineEvent {
    id: ID!
    kind: String!
    timestamp: ISO8601DateTime!
  }
  type MachineEventGeneric implements MachineEvent {
    id: ID!
    kind: String!
    timestamp: ISO8601DateTime!
  }
  type MachineEventStart implements MachineEvent {
    id: ID!
    kind: String!
    timestamp: ISO8601DateTime!
  }
  type MachineEventExit implements MachineEvent {
    id: ID!
    kind: String!
    timestamp: ISO8601DateTime!
    exitCode: Int!
    oomKilled: Boolean!
    requestedStop: Boolean!
    metadata: JSON!
  }
  type MachineEventConnection {
    nodes: [MachineEvent!]!
  }
  type Issue {
    id: ID!
    internalId: String!
    message: String
    createdAt: ISO8601DateTime!
    updatedAt: ISO8601DateTime!
  }
  type IssueConnection {
    nodes: [Issue!]!
  }
  type AppCertificate {
    id: ID!
    hostname: String!
    clientStatus: String!
    createdAt: ISO8601DateTime
  }
  type AppCertificateConnection {
    nodes: [AppCertificate!]!
  }
  type AddOn {
    id: ID!
    name: String
    primaryRegion: String
    status: String
    errorMessage: String
    metadata: JSON
  }
  type AddOnConnection {
    nodes: [AddOn!]!
  }
  type Volume {
    id: ID!
    name: String!
    region: String!
    sizeGb: Int!
    state: String!
  }
  type VolumeConnection {
    nodes: [Volume!]!
  }
`;
