// The Functions app on Flex Consumption: plan, site, settings, sign-in.

param name string
param planName string
param location string
param tags object
param identityId string
param clientId string
param storageAccountName string
param deploymentContainer string
param topicEndpoint string
param vaultUri string
param applicationInsightsName string
@description('What becomes setting DEPLOYMENTS.')
param deployments array
param requestsPerMinute int
param modelLatencySeconds int
param instanceMemoryMB int
param maximumInstanceCount int
param alwaysReadyHttp int
param alwaysReadyQueue int
param publicBaseUrl string
param corsOrigins string
param readableContainers string
param imageUrlHosts string
param callbackHosts string
param signingCertificateName string
param signingCertificateChain string
param tokenPrices string
param retentionDays int
param authClientId string
param authAllowedClients string
param additionalSettings object
@description('Subnet the app goes out by; empty: none.')
param subnetId string
param publicInbound bool

// How many instances. Calls in flight = all deployments' requests per minute x seconds of a call / 60. An instance holds
// 80 queued runs (batchSize + newBatchThreshold of host.json) or `httpConcurrency` HTTP requests, of which, with uploads
// and polls beside them, every second waits for the model. Each other group of functions (blob, every queue and timer
// function) scales alone and needs one instance while it has something to do. More would not call faster: the pacing
// record holds all of them to the quota.
// The stream design keeps about 4 MB for a request in flight, so 32 are far from the memory of an instance.
var httpConcurrency = 32
var runsPerInstance = 80
var otherGroups = 11
var callsInFlight = (((requestsPerMinute * length(deployments)) * modelLatencySeconds) + 59) / 60
var httpInstances = ((callsInFlight * 2) + (httpConcurrency - 1)) / httpConcurrency
var runInstances = (callsInFlight + (runsPerInstance - 1)) / runsPerInstance
var derivedInstances = (httpInstances + runInstances) + otherGroups
// Always-ready instances of both groups must fit.
var instances = maximumInstanceCount > 0 ? maximumInstanceCount : max(derivedInstances, alwaysReadyHttp + alwaysReadyQueue)

var readyHttp = alwaysReadyHttp > 0 ? [{ name: 'http', instanceCount: alwaysReadyHttp }] : []
var readyQueue = alwaysReadyQueue > 0 ? [{ name: 'function:run_request', instanceCount: alwaysReadyQueue }] : []
var origins = empty(corsOrigins) ? [] : split(replace(corsOrigins, ' ', ''), ',')

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource site 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: publicInbound ? 'Enabled' : 'Disabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    // Without it the platform would read references as the system-assigned identity, which the app has not.
    keyVaultReferenceIdentity: identityId
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
      cors: {
        allowedOrigins: origins
      }
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${account.properties.primaryEndpoints.blob}${deploymentContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: instances
        alwaysReady: concat(readyHttp, readyQueue)
        triggers: {
          http: {
            // Said, since Python gets one request per instance otherwise.
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
    }
    // Closes the host's /admin to keys: whoever has the master key could run any function there.
    #disable-next-line BCP037
    functionsRuntimeAdminIsolationEnabled: true
  }
}

// Packages come with a token, never with a publishing password.
resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: site
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: site
  name: 'scm'
  properties: {
    allow: false
  }
}

var hostSettings = {
  AzureWebJobsStorage__blobServiceUri: account.properties.primaryEndpoints.blob
  AzureWebJobsStorage__queueServiceUri: account.properties.primaryEndpoints.queue
  AzureWebJobsStorage__tableServiceUri: account.properties.primaryEndpoints.table
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: clientId
  AzureWebJobsDisableHomepage: 'true'
  // Where telemetry goes; its key opens nothing, since the component takes tokens only.
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${clientId}'
}
// Settings of docs/settings.md. An empty one is as good as none.
var darkroomSettings = {
  AZURE_CLIENT_ID: clientId
  DEPLOYMENTS: string(deployments)
  STORAGE__blobServiceUri: account.properties.primaryEndpoints.blob
  STORAGE__queueServiceUri: account.properties.primaryEndpoints.queue
  STORAGE__tableServiceUri: account.properties.primaryEndpoints.table
  STORAGE__credential: 'managedidentity'
  STORAGE__clientId: clientId
  EVENTS__topicEndpointUri: topicEndpoint
  PUBLIC_BASE_URL: publicBaseUrl
  HTTP_AUTH_LEVEL: empty(authClientId) ? 'function' : 'anonymous'
  READABLE_CONTAINERS: readableContainers
  IMAGE_URL_HOSTS: imageUrlHosts
  CALLBACK_HOSTS: callbackHosts
  CALLBACK_SIGNING_KEY: empty(callbackHosts) ? '' : '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/callback-signing-key)'
  TOKEN_PRICES: tokenPrices
  SIGNING_CERTIFICATE: empty(signingCertificateName) ? '' : '${vaultUri}certificates/${signingCertificateName}'
  SIGNING_CERTIFICATE_CHAIN: signingCertificateChain
  RETENTION_DAYS: retentionDays > 0 ? string(retentionDays) : ''
}
// Sign-in without a secret: the app's identity vouches for it, by a federated credential of the app registration.
var signInSettings = {
  OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: clientId
  WEBSITE_AUTH_AAD_ALLOWED_TENANTS: subscription().tenantId
}
var noSettings = {}

resource settings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: site
  name: 'appsettings'
  properties: union(hostSettings, darkroomSettings, empty(authClientId) ? noSettings : signInSettings, additionalSettings)
}

var anyApplication = {}
var theseApplications = {
  allowedApplications: split(replace(authAllowedClients, ' ', ''), ',')
}

resource signIn 'Microsoft.Web/sites/config@2024-04-01' = if (!empty(authClientId)) {
  parent: site
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
      runtimeVersion: '~1'
    }
    globalValidation: {
      // Callers without a token are let through and answered 401 by the app, but for health, polls and Event Grid's
      // webhook, which have other credentials or need none.
      requireAuthentication: false
      unauthenticatedClientAction: 'AllowAnonymous'
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: authClientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${subscription().tenantId}/v2.0'
          clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
        }
        validation: {
          allowedAudiences: [
            'api://${authClientId}'
            authClientId
          ]
          defaultAuthorizationPolicy: empty(authAllowedClients) ? anyApplication : theseApplications
        }
      }
    }
    login: {
      tokenStore: {
        enabled: false
      }
    }
    httpSettings: {
      requireHttps: true
    }
  }
  dependsOn: [
    settings
  ]
}

output id string = site.id
output name string = site.name
output hostName string = site.properties.defaultHostName
