// A workflow that is told of each new image by the app's Event Grid topic, asks somebody for approval, and has what is
// refused removed. The events come by a storage queue: it bears any backlog, and delivery needs no address of the workflow.
// The workflow's identity needs the app role Darkroom.Admin, to see the jobs of all callers.

param name string = 'darkroom-approve-results'
param location string = resourceGroup().location
param tags object = {}

@description('The app, such as https://my-app.azurewebsites.net.')
param appUrl string

@description('What the workflow\'s token is for: the identifier URI of the app\'s registration, such as api://<client id>.')
param audience string

@secure()
@description('Where approvals are posted to. Whoever decides POSTs {"approved": true} or false to the answer_to that it is given.')
param approvalUrl string

@description('The app\'s own: EVENTS_TOPIC_NAME and STORAGE_ACCOUNT_NAME of `azd env get-values`.')
param topicName string
param storageAccountName string

@description('The queue for the events; made here.')
param queueName string = 'job-events'

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2023-05-01' existing = {
  parent: account
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = {
  parent: queueService
  name: queueName
}

resource topic 'Microsoft.EventGrid/topics@2025-02-15' existing = {
  name: topicName
}

// Storage Queue Data Message Sender: the topic adds events to this queue, and reads none.
resource sendsEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(queue.id, topic.id, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  scope: queue
  properties: {
    principalId: topic.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  }
}

resource subscription 'Microsoft.EventGrid/topics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: name
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    deliveryWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      destination: {
        endpointType: 'StorageQueue'
        properties: {
          resourceId: account.id
          queueName: queueName
          queueMessageTimeToLiveInSeconds: -1
        }
      }
    }
    filter: {
      includedEventTypes: [
        'Darkroom.Job.Succeeded'
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
  }
  dependsOn: [
    queue
    sendsEvents
  ]
}

// Storage Queue Data Message Processor: the workflow reads and deletes messages of this queue.
resource takesEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(queue.id, workflow.id, '8a0f0c08-91a1-4084-bc3d-661d67233fed')
  scope: queue
  properties: {
    principalId: workflow.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '8a0f0c08-91a1-4084-bc3d-661d67233fed')
  }
}

resource queues 'Microsoft.Web/connections@2016-06-01' = {
  name: '${name}-queues'
  location: location
  tags: tags
  properties: {
    displayName: queueName
    api: {
      id: subscriptionResourceId('Microsoft.Web/locations/managedApis', '${location}/azurequeues')
    }
    // No account key: the workflow's identity stands for it.
    #disable-next-line BCP089
    parameterValueSet: {
      name: 'managedIdentityAuth'
      values: {}
    }
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
    definition: loadJsonContent('approve-results.json')
    parameters: {
      '$connections': {
        value: {
          azurequeues: {
            connectionId: queues.id
            connectionName: queues.name
            id: subscriptionResourceId('Microsoft.Web/locations/managedApis', '${location}/azurequeues')
            connectionProperties: {
              authentication: {
                type: 'ManagedServiceIdentity'
              }
            }
          }
        }
      }
      appUrl: {
        value: appUrl
      }
      audience: {
        value: audience
      }
      approvalUrl: {
        value: approvalUrl
      }
      storageAccountName: {
        value: storageAccountName
      }
      queueName: {
        value: queueName
      }
    }
  }
}

output principalId string = workflow.identity.principalId
