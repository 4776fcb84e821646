// Announces uploads to the app's blob trigger. The postdeploy hook comes in here: the trigger's key is there only once
// the host has read the deployed code, and Event Grid asks the app to confirm before the subscription is made. The key
// stays inside the deployment: it is no parameter, no output, and in no command line.

param siteName string
param systemTopicName string
param storageAccountName string

@description('The function with the blob trigger; a name that is not the app\'s would be answered 202 and lose every event.')
param functionName string = 'announce_upload'

resource site 'Microsoft.Web/sites@2024-04-01' existing = {
  name: siteName
}

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource systemTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: systemTopicName
}

// Whoever reads the subscription later sees its URL without the key.
var blobsKey = listKeys('${site.id}/host/default', '2024-04-01').systemKeys.blobs_extension
var endpointUrl = 'https://${site.properties.defaultHostName}/runtime/webhooks/blobs?functionName=Host.Functions.${functionName}'

resource toApp 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: systemTopic
  name: 'uploads-to-app'
  properties: {
    // What the blob trigger reads.
    eventDeliverySchema: 'EventGridSchema'
    destination: {
      endpointType: 'WebHook'
      properties: {
        endpointUrl: '${endpointUrl}&code=${blobsKey}'
        maxEventsPerBatch: 1
        preferredBatchSizeInKilobytes: 64
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
