# After `azd deploy`: subscribes the app's blob trigger to uploads. It takes the app's code to be there, since the
# trigger's key exists only then and Event Grid asks the app to confirm. Safe to repeat: `azd hooks run postdeploy`.
# The same as postdeploy.sh, for Windows.
#
# 1. wait until the app answers
# 2. wait until the platform knows the function and the trigger's key
# 3. make the subscription (../upload-subscription.bicep, in which the key stays)
# 4. wait until Event Grid has had the app's confirmation
$ErrorActionPreference = 'Stop'

$function = 'announce_upload'
$subscription = 'uploads-to-app'
$tries = if ($env:DARKROOM_HOOK_TRIES) { [int] $env:DARKROOM_HOOK_TRIES } else { 60 }
$pause = if ($env:DARKROOM_HOOK_SECONDS) { [double] $env:DARKROOM_HOOK_SECONDS } else { 5 }

function Stop-Hook([string] $What, [string[]] $Advice) {
    [Console]::Error.WriteLine("postdeploy: $What")
    foreach ($line in $Advice) { [Console]::Error.WriteLine("  $line") }
    exit 1
}

function Wait-Until([scriptblock] $Asked) {
    for ($left = $tries; $left -gt 0; $left--) {
        if ((& $Asked) -eq 'true') { return $true }
        if ($left -gt 1) { Start-Sleep -Seconds $pause }
    }
    return $false
}

if ($env:UPLOAD_EVENTS_BY -eq 'queue') {
    Write-Output 'postdeploy: uploads are announced by queue; nothing is to be done.'
    exit 0
}

foreach ($name in 'AZURE_RESOURCE_GROUP', 'AZURE_SUBSCRIPTION_ID', 'SERVICE_API_NAME', 'SERVICE_API_HOST', 'STORAGE_ACCOUNT_NAME', 'UPLOADS_SYSTEM_TOPIC') {
    if (-not [Environment]::GetEnvironmentVariable($name)) {
        Stop-Hook "$name is not set." @('Run it by azd, which knows what it made: azd hooks run postdeploy')
    }
}
if (-not (Get-Command az -ErrorAction SilentlyContinue)) {
    Stop-Hook 'az is not there; uploads are not announced yet.' @('Install it (https://aka.ms/azure-cli), then: azd hooks run postdeploy')
}
az account show --output none 2>$null
if ($LASTEXITCODE -ne 0) {
    Stop-Hook 'az is not signed in; uploads are not announced yet.' @('Run: az login, then: azd hooks run postdeploy')
}

$answers = {
    try {
        $null = Invoke-WebRequest -Uri "https://$env:SERVICE_API_HOST/api/health" -TimeoutSec 20
        'true'
    }
    catch { 'false' }
}
if (-not (Wait-Until $answers)) {
    Stop-Hook "https://$env:SERVICE_API_HOST/api/health does not answer 200." @(
        "See the app's log stream in the portal. When it answers: azd hooks run postdeploy")
}
$functionKnown = {
    az functionapp function show --subscription $env:AZURE_SUBSCRIPTION_ID --resource-group $env:AZURE_RESOURCE_GROUP `
        --name $env:SERVICE_API_NAME --function-name $function --query 'name != `null`' --output tsv 2>$null
}
if (-not (Wait-Until $functionKnown)) {
    Stop-Hook "the app has no function '$function'." @("Its code was not read: see the app's log stream, then: azd deploy")
}
$keyKnown = {
    az functionapp keys list --subscription $env:AZURE_SUBSCRIPTION_ID --resource-group $env:AZURE_RESOURCE_GROUP `
        --name $env:SERVICE_API_NAME --query 'systemKeys.blobs_extension != `null`' --output tsv 2>$null
}
if (-not (Wait-Until $keyKnown)) {
    Stop-Hook "the app has no key 'blobs_extension' yet." @(
        'The host makes it when it has read a blob trigger. Wait some minutes, then: azd hooks run postdeploy')
}

# What az says of a failure may hold the address of the webhook, and that its key.
$ErrorActionPreference = 'Continue'
$said = az deployment group create --subscription $env:AZURE_SUBSCRIPTION_ID --resource-group $env:AZURE_RESOURCE_GROUP `
    --name darkroom-upload-subscription --template-file "$PSScriptRoot/../upload-subscription.bicep" --output none `
    --parameters siteName=$env:SERVICE_API_NAME systemTopicName=$env:UPLOADS_SYSTEM_TOPIC `
    storageAccountName=$env:STORAGE_ACCOUNT_NAME functionName=$function 2>&1
if ($LASTEXITCODE -ne 0) {
    [Console]::Error.WriteLine((($said | Out-String) -replace 'code=[^&"'' ]*', 'code=...'))
    Stop-Hook 'the subscription of uploads was not made.' @(
        'If it says that the endpoint could not be validated: the app did not confirm in time; repeat azd hooks run postdeploy',
        "If it names a right: making it takes Contributor and reading the app's keys in $env:AZURE_RESOURCE_GROUP.",
        "If it names the dead-letter destination: the topic's rights are minutes old; repeat azd hooks run postdeploy")
}
$confirmed = {
    az eventgrid system-topic event-subscription show --subscription $env:AZURE_SUBSCRIPTION_ID `
        --resource-group $env:AZURE_RESOURCE_GROUP --system-topic-name $env:UPLOADS_SYSTEM_TOPIC --name $subscription `
        --query "provisioningState == 'Succeeded'" --output tsv 2>$null
}
if (-not (Wait-Until $confirmed)) {
    Stop-Hook "Event Grid has not confirmed the subscription '$subscription'." @(
        "Look at it in the portal (system topic $env:UPLOADS_SYSTEM_TOPIC), then: azd hooks run postdeploy")
}
Write-Output "postdeploy: uploads are announced to $env:SERVICE_API_HOST."
