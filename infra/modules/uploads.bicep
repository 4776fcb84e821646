// The storage account's own events, and the rights to pass them on. The postdeploy hook makes the subscription, in one of
// two ways: by webhook (infra/upload-subscription.bicep), which takes an app that answers; or into queue `image-uploads`
// (infra/upload-subscription-by-queue.bicep), which works where the app has no public address.

param name string
param location string
param tags object
param storageAccountName string
param byQueue bool

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2023-05-01' existing = {
  parent: account
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' existing = {
  parent: queueService
  name: 'image-uploads'
}

resource systemTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: location
  tags: tags
  // System-assigned: behind a storage firewall Event Grid goes by no other
  // (https://learn.microsoft.com/azure/event-grid/handler-storage-queues).
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: account.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

// Storage Blob Data Contributor: writes dead letters. For the whole account, since that is where Event Grid looks for the
// right when a subscription is made, though it writes to one container.
resource writesDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, systemTopic.id, 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
  scope: account
  properties: {
    principalId: systemTopic.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
  }
}

// Storage Queue Data Message Sender: adds messages to this queue, and reads none.
resource sendsToQueue 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (byQueue) {
  name: guid(queue.id, systemTopic.id, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  scope: queue
  properties: {
    principalId: systemTopic.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  }
}

output id string = systemTopic.id
output name string = systemTopic.name
