// The private endpoint of the app itself.

param token string
param location string
param tags object
param virtualNetworkId string
param subnetId string
param siteId string

module zone 'private-zone.bicep' = {
  name: 'zone-app'
  params: {
    name: 'privatelink.azurewebsites.net'
    tags: tags
    virtualNetworkId: virtualNetworkId
  }
}

module endpoint 'private-endpoint.bicep' = {
  name: 'endpoint-app'
  params: {
    name: 'pe-app-${token}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: siteId
    groupId: 'sites'
    zoneId: zone.outputs.id
  }
}
