import { APP_TYPES } from "./schema-app.ts";
import { MUTATION_TYPES } from "./schema-mutations.ts";
import { ORGANIZATION_TYPES } from "./schema-organization.ts";

/**
 * The part of the platform's GraphQL schema that its command line needs (reference §6.5, §9.4, §10.5; superfly/fly-go
 * `schema.graphql`). Names, types and nullability are the platform's, since its clients decode answers into typed values;
 * nothing else is offered. What clients put into enums only to name something is a scalar here: lists of names grow.
 */
export const SDL = /* GraphQL */ `
  scalar ISO8601DateTime
  scalar JSON
  "A whole number as text: it may not fit into 32 bits."
  scalar BigInt
  scalar AddOnType
  scalar DeploymentStrategy
  scalar IPAddressType
  scalar OrganizationType
  scalar PlatformVersionEnum

  type Query {
    viewer: Principal!
    currentUser: User!
    userOnlyToken: Boolean!
    apps(
      type: String
      first: Int
      last: Int
      after: String
      before: String
      organizationId: ID
      role: String
      active: Boolean
      platform: String
    ): AppConnection!
    app(name: String, id: String, internalId: String): App
    appNameAvailable(name: String!): Boolean!
    machine(machineId: String!): Machine!
    organization(slug: String, id: ID, name: String): Organization
    organizations(
      admin: Boolean
      type: OrganizationType
      first: Int
      last: Int
      after: String
      before: String
    ): OrganizationConnection!
    personalOrganization: Organization!
    nearestRegion(wireguardGateway: Boolean): Region!
    platform: FlyPlatform!
    latestImageTag(repository: String!, snapshotId: ID): String!
    latestImageDetails(image: String!, flyVersion: String): ImageVersion!
    canPerformBluegreenDeployment(name: String!): Boolean!
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
    hasPreviousPage: Boolean!
    startCursor: String
    endCursor: String
  }

  type Region {
    code: String!
    name: String!
    latitude: Float
    longitude: Float
    gatewayAvailable: Boolean!
    requiresPaidPlan: Boolean!
    deprecated: Boolean!
    processGroup: String
  }
  type FlyPlatform {
    requestRegion: String
    regions: [Region!]!
    vmSizes: [VMSize!]!
  }
  type VMSize {
    name: String!
    cpuCores: Float!
    cpuClass: String!
    memoryGb: Float!
    memoryMb: Int!
    maxMemoryMb: Int!
    memoryIncrementsMb: [Int!]!
    priceMonth: Float!
    priceSecond: Float!
  }
  type ImageVersion {
    registry: String!
    repository: String!
    tag: String!
    version: String
    digest: String!
  }

  ${APP_TYPES}
  ${ORGANIZATION_TYPES}
  ${MUTATION_TYPES}
`;
