// The one storage account: the app's containers, queues and tables, the host's own state, and the deployed package.
// Names are those of local/infrastructure.py; a test compares them.

param name string
param location string
param tags object
param principalId string
param deploymentContainer string
param retentionDays int
param coolAfterDays int
param undeleteDays int
param skuName string
param privateNetwork bool
param corsOrigins string

var deadLetterContainer = 'dead-letters'
var containers = [
  'requests'
  'results'
  'uploads'
]
var queues = [
  'image-requests'
  'image-requests-poison'
  'image-uploads'
  'image-uploads-poison'
  'image-batches'
  'image-batches-poison'
  'webjobs-blobtrigger-poison'
]
var tables = [
  'jobs'
  'idempotency'
  'ledger'
  'pacing'
]

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: skuName
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    // Tokens only: links to results and uploads are signed with a key that is delegated to the app's identity.
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    // Not 'Disabled', even in a private network: Event Grid puts the events of uploads into the queue as a trusted
    // service, which goes by the public endpoint.
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      // Open by default, since callers read results and write uploads by their links.
      defaultAction: privateNetwork ? 'Deny' : 'Allow'
      bypass: 'AzureServices'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: undeleteDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: undeleteDays
    }
    cors: {
      corsRules: corsRules
    }
  }
}

// Pages that call the app also read its links and write to those of POST /api/uploads.
var origins = empty(corsOrigins) ? [] : split(replace(corsOrigins, ' ', ''), ',')
var pagesRule = [
  {
    allowedOrigins: origins
    allowedMethods: [
      'GET'
      'HEAD'
      'PUT'
      'OPTIONS'
    ]
    allowedHeaders: [
      'content-type'
      'if-none-match'
      'range'
      'x-ms-*'
    ]
    exposedHeaders: [
      'etag'
      'content-length'
      'content-range'
      'x-ms-*'
    ]
    maxAgeInSeconds: 3600
  }
]
var corsRules = empty(corsOrigins) ? [] : pagesRule

resource dataContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = [for container in containers: {
  parent: blobs
  name: container
  properties: {
    publicAccess: 'None'
  }
}]

// The app refuses sources from containers that begin with app-package-.
resource packageContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: deploymentContainer
  properties: {
    publicAccess: 'None'
  }
}

// Events of uploads that could not be delivered in a day. An alert tells of them.
resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: deadLetterContainer
  properties: {
    publicAccess: 'None'
  }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2023-05-01' = {
  parent: account
  name: 'default'
}

resource dataQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = [for queue in queues: {
  parent: queueService
  name: queue
}]

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2023-05-01' = {
  parent: account
  name: 'default'
}

resource dataTables 'Microsoft.Storage/storageAccounts/tableServices/tables@2023-05-01' = [for table in tables: {
  parent: tableService
  name: table
}]

// -- lifecycle

var coolRule = {
  name: 'results-become-cool'
  type: 'Lifecycle'
  enabled: true
  definition: {
    filters: {
      blobTypes: [
        'blockBlob'
      ]
      prefixMatch: [
        'results/'
      ]
    }
    actions: {
      baseBlob: {
        tierToCool: {
          daysAfterModificationGreaterThan: coolAfterDays
        }
      }
    }
  }
}
// The app itself removes what has a job or was handed out. This is for what it does not know: folders that strangers
// dropped into `uploads`, and whatever was left behind. Two weeks later, since a request may wait for seven days and its
// retention counts from its end.
var retentionRule = {
  name: 'retention'
  type: 'Lifecycle'
  enabled: true
  definition: {
    filters: {
      blobTypes: [
        'blockBlob'
      ]
      prefixMatch: [
        'requests/'
        'results/'
        'uploads/'
      ]
    }
    actions: {
      baseBlob: {
        delete: {
          daysAfterModificationGreaterThan: retentionDays + 14
        }
      }
    }
  }
}
var deadLetterRule = {
  name: 'dead-letters-go'
  type: 'Lifecycle'
  enabled: true
  definition: {
    filters: {
      blobTypes: [
        'blockBlob'
      ]
      prefixMatch: [
        '${deadLetterContainer}/'
      ]
    }
    actions: {
      baseBlob: {
        delete: {
          daysAfterModificationGreaterThan: 90
        }
      }
    }
  }
}
var cooling = coolAfterDays > 0 ? [coolRule] : []
var retention = retentionDays > 0 ? [retentionRule] : []

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2023-05-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: concat(cooling, retention, [deadLetterRule])
    }
  }
  dependsOn: [
    blobs
  ]
}

// -- the app's rights

// Storage Blob Data Owner: what the Functions host asks for its own containers (locks, keys) and the blob trigger for its
// receipts; the app reads and writes its containers by it and has links delegated to it, so no Delegator beside it.
resource ownsBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
  }
}

// Storage Queue Data Contributor: queue triggers take messages and make poison queues, the app sends, and the blob trigger
// has queues of its own whose names only the host knows, hence the whole account.
resource worksQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
  }
}

// Storage Table Data Contributor: jobs, idempotency, ledger and pacing; the host writes its diagnostic events to a table.
resource writesTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
  }
}

output id string = account.id
output name string = account.name
output deploymentContainer string = packageContainer.name
