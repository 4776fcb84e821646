// One page of figures: requests, jobs and why they failed, calls to the model, what waits.

param token string
param location string
param tags object
param workspaceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'darkroom', token)
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Darkroom ${token}'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: replace(loadTextContent('../workbook.json'), 'WORKSPACE_ID', workspaceId)
  }
}
