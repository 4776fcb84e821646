// Announces uploads by queue `image-uploads`, where the app is not to be called or cannot be. The postdeploy hook comes in
// here, and not `azd provision`: Event Grid looks for its rights when the subscription is made, and the hook asks again
// while they are too young. It takes no key, and the app need not answer.

param systemTopicName string
param storageAccountName string

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource systemTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: systemTopicName
}

resource toQueue 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: systemTopic
  name: 'uploads-to-queue'
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    deliveryWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      destination: {
        endpointType: 'StorageQueue'
        properties: {
          resourceId: account.id
          queueName: 'image-uploads'
          // Never: a message may wait for an app that is stopped.
          queueMessageTimeToLiveInSeconds: -1
        }
      }
    }
    filter: {
      subjectBeginsWith: '/blobServices/default/containers/uploads/'
      includedEventTypes: [
        'Microsoft.Storage.BlobCreated'
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: account.id
          blobContainerName: 'dead-letters'
        }
      }
    }
  }
}
