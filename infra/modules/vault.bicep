// The vault of the app's one secret, the key that callbacks are signed with, which the postprovision hook makes; and of
// the certificate that derived images are signed with, which an operator makes (docs/deploy.md).

param name string
param location string
param tags object
param principalId string
param workspaceId string
param purgeProtection bool
param privateNetwork bool
@description('Whether the app signs with a certificate of this vault.')
param signs bool

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    // Azure knows no false here.
    enablePurgeProtection: purgeProtection ? true : null
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: {
      // Open by default: without a virtual network the platform reads references from addresses that nobody can list.
      defaultAction: privateNetwork ? 'Deny' : 'Allow'
      bypass: 'AzureServices'
    }
  }
}

// Key Vault Secrets User: reads secrets, lists and writes none. For the vault, which holds this app's secret only.
resource readsSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, '4633458b-17de-408a-b874-0445c86b69e6')
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
  }
}

// Key Vault Crypto User: signs with keys, and takes none out. For the vault, whose only key is the certificate's.
resource usesKeys 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (signs) {
  name: guid(vault.id, principalId, '12338af0-0e69-4776-bea7-57ae8d297424')
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '12338af0-0e69-4776-bea7-57ae8d297424')
  }
}

// Key Vault Reader: reads the certificate, and of secrets and keys what they are called. "Key Vault Certificate User"
// could read the values of secrets too.
resource readsCertificates 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (signs) {
  name: guid(vault.id, principalId, '21090545-7ca7-4776-b22c-e363652d74d2')
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '21090545-7ca7-4776-b22c-e363652d74d2')
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

output id string = vault.id
output name string = vault.name
output uri string = vault.properties.vaultUri
