// Private endpoints of all that the app talks to but telemetry.

param token string
param location string
param tags object
param virtualNetworkId string
param subnetId string
param storageAccountId string
param vaultId string
param topicId string
@description('An Azure OpenAI account that is used as it is; empty where new ones were made.')
param existingOpenAiResourceId string
@description('Regions of the accounts that were made.')
param modelRegions array

var storageServices = [
  'blob'
  'queue'
  'table'
]
var newAccounts = [for region in modelRegions: resourceId('Microsoft.CognitiveServices/accounts', 'oai-${token}-${region}')]
var openAiAccounts = empty(existingOpenAiResourceId) ? newAccounts : [existingOpenAiResourceId]

module storageZones 'private-zone.bicep' = [for service in storageServices: {
  name: 'zone-${service}'
  params: {
    name: 'privatelink.${service}.${environment().suffixes.storage}'
    tags: tags
    virtualNetworkId: virtualNetworkId
  }
}]

module storageEndpoints 'private-endpoint.bicep' = [for (service, index) in storageServices: {
  name: 'endpoint-${service}'
  params: {
    name: 'pe-${service}-${token}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: storageAccountId
    groupId: service
    zoneId: storageZones[index].outputs.id
  }
}]

module vaultZone 'private-zone.bicep' = {
  name: 'zone-vault'
  params: {
    name: 'privatelink.vaultcore.azure.net'
    tags: tags
    virtualNetworkId: virtualNetworkId
  }
}

module vaultEndpoint 'private-endpoint.bicep' = {
  name: 'endpoint-vault'
  params: {
    name: 'pe-vault-${token}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: vaultId
    groupId: 'vault'
    zoneId: vaultZone.outputs.id
  }
}

module topicZone 'private-zone.bicep' = {
  name: 'zone-topic'
  params: {
    name: 'privatelink.eventgrid.azure.net'
    tags: tags
    virtualNetworkId: virtualNetworkId
  }
}

module topicEndpoint 'private-endpoint.bicep' = {
  name: 'endpoint-topic'
  params: {
    name: 'pe-topic-${token}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: topicId
    groupId: 'topic'
    zoneId: topicZone.outputs.id
  }
}

module modelZone 'private-zone.bicep' = {
  name: 'zone-model'
  params: {
    name: 'privatelink.openai.azure.com'
    tags: tags
    virtualNetworkId: virtualNetworkId
  }
}

// An endpoint may lie in another region than what it leads to.
module modelEndpoints 'private-endpoint.bicep' = [for (account, index) in openAiAccounts: {
  name: 'endpoint-model-${index}'
  params: {
    name: 'pe-model-${index}-${token}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: account
    groupId: 'account'
    zoneId: modelZone.outputs.id
  }
}]
