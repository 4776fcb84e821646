// Puts a callback signing key into the vault. The postprovision hook comes in here when there is none: by way of Azure
// Resource Manager, which needs no right to read secrets and reaches a vault without a public address.

param vaultName string

@secure()
@minLength(32)
param key string

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: vaultName
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {
  parent: vault
  name: 'callback-signing-key'
  properties: {
    value: key
    contentType: 'Standard Webhooks key'
  }
}
