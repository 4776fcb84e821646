// Where logs, traces and metrics go. Telemetry is sent with the app's identity; the ingestion key alone opens nothing. A workbook
// shows it: requests, jobs and why they failed, calls to the model, what waits, how long steps take, what was paid.

param token string
param location string
param tags object
param principalId string

@description('Days that logs are kept; the first 31 cost nothing.')
param retentionDays int = 31

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: 'log-${token}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
    }
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

// Monitoring Metrics Publisher: the only role that telemetry can be sent with once the key is not enough.
resource publishesTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(applicationInsights.id, principalId, '3913510d-42f4-4e42-8a64-420c390055eb')
  scope: applicationInsights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb')
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'darkroom', token)
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Darkroom ${token}'
    category: 'workbook'
    sourceId: workspace.id
    serializedData: replace(loadTextContent('../workbook.json'), 'WORKSPACE_ID', workspace.id)
  }
}

output workspaceId string = workspace.id
output applicationInsightsName string = applicationInsights.name
