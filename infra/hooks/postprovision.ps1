# After `azd provision`: makes the key that callbacks are signed with, where callbacks are allowed and there is none.
# It is made here, goes by a file of this user's, and is shown nowhere. Safe to repeat: a key that is there is kept.
# `azd hooks run postprovision` repeats it. The same as postprovision.sh, for Windows.
$ErrorActionPreference = 'Stop'

$secret = 'callback-signing-key'

function Stop-Hook([string] $What, [string[]] $Advice) {
    [Console]::Error.WriteLine("postprovision: $What")
    foreach ($line in $Advice) { [Console]::Error.WriteLine("  $line") }
    exit 1
}

if ($env:CALLBACKS_ALLOWED -ne 'yes') { exit 0 }

foreach ($name in 'AZURE_RESOURCE_GROUP', 'AZURE_SUBSCRIPTION_ID', 'KEY_VAULT_NAME', 'SERVICE_API_NAME') {
    if (-not [Environment]::GetEnvironmentVariable($name)) {
        Stop-Hook "$name is not set." @('Run it by azd, which knows what it made: azd hooks run postprovision')
    }
}
if (-not (Get-Command az -ErrorAction SilentlyContinue)) {
    Stop-Hook 'the Azure CLI (az) is not there.' @('Install it (https://aka.ms/azure-cli), then: azd hooks run postprovision')
}
az account show --output none 2>$null
if ($LASTEXITCODE -ne 0) { Stop-Hook 'az is not signed in.' @('Run: az login, then: azd hooks run postprovision') }

$group = "/subscriptions/$env:AZURE_SUBSCRIPTION_ID/resourceGroups/$env:AZURE_RESOURCE_GROUP"
$vault = "$group/providers/Microsoft.KeyVault/vaults/$env:KEY_VAULT_NAME"
$found = az rest --method get --url "$vault/secrets?api-version=2023-07-01" --query "length(value[?name=='$secret'])" --output tsv
if ($LASTEXITCODE -ne 0) {
    Stop-Hook "the secrets of $env:KEY_VAULT_NAME could not be listed." @(
        "You need the right to read the resource group $env:AZURE_RESOURCE_GROUP. Then: azd hooks run postprovision")
}
if ($found -ne '0') {
    Write-Output 'postprovision: the callback signing key is there already.'
    exit 0
}

$bytes = [byte[]]::new(32)
[System.Security.Cryptography.RandomNumberGenerator]::Fill($bytes)
$parameters = @{
    '$schema'      = 'https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#'
    contentVersion = '1.0.0.0'
    parameters     = @{
        vaultName = @{ value = $env:KEY_VAULT_NAME }
        key       = @{ value = 'whsec_' + [Convert]::ToBase64String($bytes) }
    }
}
$file = New-TemporaryFile
try {
    $parameters | ConvertTo-Json -Depth 4 | Set-Content -Path $file -Encoding utf8
    az deployment group create --subscription $env:AZURE_SUBSCRIPTION_ID --resource-group $env:AZURE_RESOURCE_GROUP `
        --name darkroom-callback-key --template-file "$PSScriptRoot/../callback-key.bicep" `
        --parameters "@$file" --output none
    $made = $LASTEXITCODE -eq 0
}
finally {
    Remove-Item -Path $file -Force
}
if (-not $made) {
    Stop-Hook 'the callback signing key could not be stored.' @(
        "You need the right to write to the resource group $env:AZURE_RESOURCE_GROUP. Then: azd hooks run postprovision",
        'Until then requests with a callback_url are refused.')
}

# The app read its reference before there was a key; otherwise it would see it a day later.
az rest --method post --output none --url "$group/providers/Microsoft.Web/sites/$env:SERVICE_API_NAME/config/configreferences/appsettings/refresh?api-version=2022-03-01"
if ($LASTEXITCODE -ne 0) {
    Stop-Hook 'the key is stored, but the app was not told.' @('It sees it within a day, or at once after: azd deploy')
}
Write-Output 'postprovision: a callback signing key was made.'
