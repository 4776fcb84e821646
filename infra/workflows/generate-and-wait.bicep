// A workflow that has an image made and waits for it, however long that takes: the HTTP action follows the poll URL of
// the 202 by itself. Its caller gets the images' links. The app has to ask for sign-in (docs/deploy.md).

param name string = 'darkroom-generate-and-wait'
param location string = resourceGroup().location
param tags object = {}

@description('The app, such as https://my-app.azurewebsites.net.')
param appUrl string

@description('What the workflow\'s token is for: the identifier URI of the app\'s registration, such as api://<client id>.')
param audience string

resource workflow 'Microsoft.Logic/workflows@2019-05-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    state: 'Enabled'
    definition: loadJsonContent('generate-and-wait.json')
    parameters: {
      appUrl: {
        value: appUrl
      }
      audience: {
        value: audience
      }
    }
  }
}

output principalId string = workflow.identity.principalId
