// An Azure OpenAI account in one region with one deployment of the image model. Tokens only.

param name string
param location string
param tags object
param principalId string
param modelName string
@description('Empty: the version that is the default when the deployment is made.')
param modelVersion string
param skuName string
param capacity int
param privateNetwork bool

var modelWithoutVersion = {
  format: 'OpenAI'
  name: modelName
}
var modelWithVersion = {
  format: 'OpenAI'
  name: modelName
  version: modelVersion
}

resource account 'Microsoft.CognitiveServices/accounts@2024-10-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: {
    name: 'S0'
  }
  properties: {
    // Tokens are taken only at a name of the account's own.
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: {
      defaultAction: privateNetwork ? 'Deny' : 'Allow'
    }
  }
}

resource deployment 'Microsoft.CognitiveServices/accounts/deployments@2024-10-01' = {
  parent: account
  name: modelName
  sku: {
    name: skuName
    capacity: capacity
  }
  properties: {
    model: empty(modelVersion) ? modelWithoutVersion : modelWithVersion
    // No new version by surprise, since price and parameters differ; but rather a new one than none.
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}

// Cognitive Services OpenAI User: calls deployments, and neither changes them nor reads keys.
resource callsModel 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd')
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd')
  }
}
