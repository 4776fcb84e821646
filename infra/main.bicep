// Darkroom and all it needs, in a resource group of its own. `azd up` comes in here; docs/deploy.md explains each
// parameter. Only modules of this folder are used, so that `bicep build --no-restore` works.

targetScope = 'subscription'

@minLength(1)
@maxLength(40)
@description('Name of the azd environment; resources are named after it.')
param environmentName string

@minLength(1)
@description('Region of everything but the model.')
param location string

// -- the model

@description('The model to deploy. shared/images/models.json tells until when each one lives.')
param modelName string = 'gpt-image-2'

@description('Version of the model; empty: the one in shared/images/models.json.')
param modelVersion string = ''

@description('Regions to deploy the model in, separated by commas, up to three; the first is preferred, the others take over.')
param modelRegions string = 'westus3'

@allowed(['GlobalStandard', 'DataZoneStandard', 'Standard'])
@description('Where a call may be processed: anywhere, in the data zone, in the region.')
param modelSku string = 'GlobalStandard'

@minValue(0)
@description('Quota of each deployment; 0: what a new subscription has, by shared/images/models.json.')
param modelRequestsPerMinute int = 0

@minValue(0)
@description('Capacity of each deployment in units of 3 requests per minute; 0: as the quota needs.')
param modelCapacity int = 0

@description('Version of the images API.')
param modelApiVersion string = '2025-04-01-preview'

@description('Resource id of an Azure OpenAI account whose deployment is to be used instead of new ones.')
param existingOpenAiResourceId string = ''

@description('Endpoint of that account; empty: https://<its name>.openai.azure.com.')
param existingOpenAiEndpoint string = ''

@description('Name of the deployment in that account, of modelName; empty: it has the name of the model.')
param existingOpenAiDeployment string = ''

// -- the app

@allowed([512, 2048, 4096])
@description('Memory of an instance in MB.')
param instanceMemoryMB int = 2048

@minValue(0)
@maxValue(1000)
@description('Most instances; 0: derived from the quota, see modules/app.bicep.')
param maximumInstanceCount int = 0

@minValue(0)
@description('HTTP instances that are kept warm, paid while idle.')
param alwaysReadyHttp int = 0

@minValue(0)
@description('Instances for queued jobs that are kept warm, paid while idle.')
param alwaysReadyQueue int = 0

@minValue(1)
@description('Seconds a generation takes, for the number of instances.')
param modelLatencySeconds int = 60

@description('What absolute URLs begin with, for an app behind a gateway.')
param publicBaseUrl string = ''

@description('Origins, separated by commas, whose pages may call the app.')
param corsOrigins string = ''

@description('Containers, separated by commas, whose blobs requests may name.')
param readableContainers string = ''

@description('Hosts, separated by commas, from which images may be fetched.')
param imageUrlHosts string = ''

@description('Hosts, separated by commas, that may be called back; a signing key is made when there are any.')
param callbackHosts string = ''

@description('What tokens cost: the path of a file that is deployed with the app, or JSON; empty: shared/images/prices.json.')
param tokenPrices string = ''

@description('Name of the certificate in the vault that derived images are signed with; empty: they are not signed.')
param signingCertificateName string = ''

@description('Certificates between that one and its root, as PEM.')
param signingCertificateChain string = ''

@description('Any other setting of docs/settings.md.')
param additionalSettings object = {}

// -- what is kept

@minValue(0)
@description('Days after whose end jobs and their images go; 0: everything is kept.')
param retentionDays int = 0

@minValue(0)
@description('Days after which images move to the cool tier; 0: never.')
param coolAfterDays int = 30

@minValue(1)
@maxValue(365)
@description('Days for which a deleted blob can be brought back. Whatever is purged is really gone only then.')
param undeleteDays int = 7

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
@description('Copies of what is stored: in one zone, three zones, a second region.')
param storageSku string = 'Standard_ZRS'

@description('Whether a deleted vault must stay for its seven days; it cannot be taken back, nor made anew in that time.')
param vaultPurgeProtection bool = false

// -- who may come in, and from where

@description('Client id of an Entra app registration: App Service authentication replaces function keys.')
param authClientId string = ''

@description('Client ids, separated by commas, of the applications that may call; empty: any of the tenant.')
param authAllowedClients string = ''

@description('Private endpoints for storage, model, events and vault; the app goes out through a virtual network.')
param privateNetwork bool = false

@description('The app itself answers in the virtual network only; needs privateNetwork.')
param privateInbound bool = false

@allowed(['webhook', 'queue'])
@description('How uploads are announced to the app; with privateNetwork always by queue.')
param uploadEvents string = 'webhook'

// -- who is told

@description('Mail address that alerts go to; empty: alerts are only shown in the portal.')
param alertEmail string = ''

var table = loadJsonContent('../shared/images/models.json')
var known = table.models[?modelName] ?? { version: '', retires: '', requests_per_minute: 9 }
var requestsPerMinute = modelRequestsPerMinute > 0 ? modelRequestsPerMinute : known.requests_per_minute
var capacity = modelCapacity > 0 ? modelCapacity : (requestsPerMinute + 2) / 3
var version = empty(modelVersion) ? known.version : modelVersion

var tags = { 'azd-env-name': environmentName }
var resourceToken = toLower(uniqueString(subscription().id, environmentName, location))

var useExisting = !empty(existingOpenAiResourceId)
// Never used; but a module that is left out has a scope all the same.
var noAccount = '/subscriptions/${subscription().subscriptionId}/resourceGroups/rg-${environmentName}/providers/Microsoft.CognitiveServices/accounts/none'
var existingParts = split(useExisting ? existingOpenAiResourceId : noAccount, '/')
var existingEndpoint = empty(existingOpenAiEndpoint) ? 'https://${existingParts[8]}.openai.azure.com' : existingOpenAiEndpoint
var regions = useExisting ? [] : split(replace(modelRegions, ' ', ''), ',')
var newDeployments = [for (region, index) in regions: {
  name: index == 0 ? modelName : '${modelName}-${region}'
  endpoint: 'https://oai-${resourceToken}-${region}.openai.azure.com'
  deployment: modelName
  model: modelName
  region: region
  requests_per_minute: requestsPerMinute
  priority: index
  api_version: modelApiVersion
}]
var existingDeployment = empty(existingOpenAiDeployment) ? modelName : existingOpenAiDeployment
var existingDeployments = [
  {
    name: existingDeployment
    endpoint: existingEndpoint
    deployment: existingDeployment
    model: modelName
    requests_per_minute: requestsPerMinute
    api_version: modelApiVersion
  }
]
var eventsByQueue = privateNetwork || uploadEvents == 'queue'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-${resourceToken}'
    location: location
    tags: tags
  }
}

module monitor 'modules/monitor.bicep' = {
  name: 'monitor'
  scope: group
  params: {
    token: resourceToken
    location: location
    tags: tags
    principalId: identity.outputs.principalId
  }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  name: 'network'
  scope: group
  params: {
    token: resourceToken
    location: location
    tags: tags
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'st${resourceToken}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    deploymentContainer: 'app-package-${resourceToken}'
    retentionDays: retentionDays
    coolAfterDays: coolAfterDays
    undeleteDays: undeleteDays
    skuName: storageSku
    privateNetwork: privateNetwork
    corsOrigins: corsOrigins
  }
}

module models 'modules/model.bicep' = [for region in regions: {
  name: 'model-${region}'
  scope: group
  params: {
    name: 'oai-${resourceToken}-${region}'
    location: region
    tags: tags
    principalId: identity.outputs.principalId
    modelName: modelName
    modelVersion: version
    skuName: modelSku
    capacity: capacity
    privateNetwork: privateNetwork
  }
}]

module existingModel 'modules/existing-model.bicep' = if (useExisting) {
  name: 'existing-model-${resourceToken}'
  scope: resourceGroup(existingParts[2], existingParts[4])
  params: {
    accountName: existingParts[8]
    principalId: identity.outputs.principalId
  }
}

module events 'modules/events.bicep' = {
  name: 'events'
  scope: group
  params: {
    name: 'evgt-${resourceToken}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    privateNetwork: privateNetwork
  }
}

module uploads 'modules/uploads.bicep' = {
  name: 'uploads'
  scope: group
  params: {
    name: 'evgst-${resourceToken}'
    location: location
    tags: tags
    storageAccountName: storage.outputs.name
    byQueue: eventsByQueue
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: 'kv-${resourceToken}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    workspaceId: monitor.outputs.workspaceId
    purgeProtection: vaultPurgeProtection
    privateNetwork: privateNetwork
    signs: !empty(signingCertificateName)
  }
}

module endpoints 'modules/private-endpoints.bicep' = if (privateNetwork) {
  name: 'private-endpoints'
  scope: group
  params: {
    token: resourceToken
    location: location
    tags: tags
    virtualNetworkId: network!.outputs.virtualNetworkId
    subnetId: network!.outputs.endpointSubnetId
    storageAccountId: storage.outputs.id
    vaultId: vault.outputs.id
    topicId: events.outputs.id
    existingOpenAiResourceId: existingOpenAiResourceId
    modelRegions: regions
  }
  dependsOn: [models]
}

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  params: {
    name: 'func-${resourceToken}'
    planName: 'plan-${resourceToken}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    clientId: identity.outputs.clientId
    storageAccountName: storage.outputs.name
    deploymentContainer: storage.outputs.deploymentContainer
    topicEndpoint: events.outputs.endpoint
    vaultUri: vault.outputs.uri
    applicationInsightsName: monitor.outputs.applicationInsightsName
    deployments: useExisting ? existingDeployments : newDeployments
    requestsPerMinute: requestsPerMinute
    modelLatencySeconds: modelLatencySeconds
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyHttp: alwaysReadyHttp
    alwaysReadyQueue: alwaysReadyQueue
    publicBaseUrl: publicBaseUrl
    corsOrigins: corsOrigins
    readableContainers: readableContainers
    imageUrlHosts: imageUrlHosts
    callbackHosts: callbackHosts
    signingCertificateName: signingCertificateName
    signingCertificateChain: signingCertificateChain
    tokenPrices: tokenPrices
    retentionDays: retentionDays
    authClientId: authClientId
    authAllowedClients: authAllowedClients
    additionalSettings: additionalSettings
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    publicInbound: !(privateNetwork && privateInbound)
  }
  // The host keeps its state in storage from its first start on.
  dependsOn: [endpoints]
}

module appEndpoint 'modules/app-endpoint.bicep' = if (privateNetwork && privateInbound) {
  name: 'app-endpoint'
  scope: group
  params: {
    token: resourceToken
    location: location
    tags: tags
    virtualNetworkId: network!.outputs.virtualNetworkId
    subnetId: network!.outputs.endpointSubnetId
    siteId: app.outputs.id
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    token: resourceToken
    location: location
    tags: tags
    workspaceId: monitor.outputs.workspaceId
    topicId: events.outputs.id
    systemTopicId: uploads.outputs.id
    email: alertEmail
    modelName: modelName
    modelRetires: known.retires
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output SERVICE_API_NAME string = app.outputs.name
output SERVICE_API_HOST string = app.outputs.hostName
output SERVICE_API_URI string = 'https://${app.outputs.hostName}'
output STORAGE_ACCOUNT_NAME string = storage.outputs.name
output KEY_VAULT_NAME string = vault.outputs.name
output EVENTS_TOPIC_NAME string = events.outputs.name
output UPLOADS_SYSTEM_TOPIC string = uploads.outputs.name
output UPLOAD_EVENTS_BY string = eventsByQueue ? 'queue' : 'webhook'
output CALLBACKS_ALLOWED string = empty(callbackHosts) ? 'no' : 'yes'
output MODEL_RETIRES_ON string = known.retires
