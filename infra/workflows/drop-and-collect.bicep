// A workflow that never calls the app: it drops an image, a mask and request.json into the container `uploads`, is called
// back by the app when the edit has ended, and hands the new image to its caller. The app's settings need
// CALLBACK_HOSTS=logic.azure.com (CALLBACK_HOSTS of azd).

param name string = 'darkroom-drop-and-collect'
param location string = resourceGroup().location
param tags object = {}

@description('The app\'s own: STORAGE_ACCOUNT_NAME of `azd env get-values`.')
param storageAccountName string

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' existing = {
  parent: account
  name: 'default'
}

resource uploads 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' existing = {
  parent: blobService
  name: 'uploads'
}

// Storage Blob Data Contributor: the workflow writes files to uploads and reads what was wrong with them, nowhere else.
resource dropsFiles 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(uploads.id, workflow.id, 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
  scope: uploads
  properties: {
    principalId: workflow.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
  }
}

resource workflow 'Microsoft.Logic/workflows@2019-05-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    state: 'Enabled'
    definition: loadJsonContent('drop-and-collect.json')
    parameters: {
      blobEndpoint: {
        value: 'https://${storageAccountName}.blob.${environment().suffixes.storage}/'
      }
    }
  }
}

output principalId string = workflow.identity.principalId
