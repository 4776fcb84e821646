# After `azd deploy`: subscribes the app to uploads, by webhook or by queue as UPLOAD_EVENTS_BY says. Safe to repeat:
# `azd hooks run postdeploy`. The same as postdeploy.sh, for Windows.
#
# 1. by webhook: wait until the app answers and the platform knows the function and the trigger's key, since the key is
#    there only then and Event Grid asks the app to confirm
# 2. make the subscription (../upload-subscription.bicep, in which the key stays, or ../upload-subscription-by-queue.bicep),
#    again and again while Event Grid's rights are too young
# 3. wait until Event Grid has confirmed it
# 4. delete that of the other way, of a time before: events would come twice, or find nobody
$ErrorActionPreference = 'Stop'

$function = 'announce_upload'
$tries = if ($env:DARKROOM_HOOK_TRIES) { [int] $env:DARKROOM_HOOK_TRIES } else { 60 }
$deployments = if ($env:DARKROOM_HOOK_DEPLOYMENTS) { [int] $env:DARKROOM_HOOK_DEPLOYMENTS } else { 10 }
$pause = if ($env:DARKROOM_HOOK_SECONDS) { [double] $env:DARKROOM_HOOK_SECONDS } else { 5 }
$way = if ($env:UPLOAD_EVENTS_BY) { $env:UPLOAD_EVENTS_BY } else { 'webhook' }

if ($way -eq 'queue') {
    $subscription = 'uploads-to-queue'
    $former = 'uploads-to-app'
}
else {
    $subscription = 'uploads-to-app'
    $former = 'uploads-to-queue'
}

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

if ($way -ne 'queue') {
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
}

# What az says on its error stream is no error of this script.
$ErrorActionPreference = 'Continue'

function Add-AppSubscription {
    az deployment group create --subscription $env:AZURE_SUBSCRIPTION_ID --resource-group $env:AZURE_RESOURCE_GROUP `
        --name darkroom-upload-subscription --template-file "$PSScriptRoot/../upload-subscription.bicep" --output none `
        --parameters siteName=$env:SERVICE_API_NAME systemTopicName=$env:UPLOADS_SYSTEM_TOPIC `
        storageAccountName=$env:STORAGE_ACCOUNT_NAME functionName=$function 2>&1
}
function Add-QueueSubscription {
    az deployment group create --subscription $env:AZURE_SUBSCRIPTION_ID --resource-group $env:AZURE_RESOURCE_GROUP `
        --name darkroom-upload-subscription --template-file "$PSScriptRoot/../upload-subscription-by-queue.bicep" --output none `
        --parameters systemTopicName=$env:UPLOADS_SYSTEM_TOPIC storageAccountName=$env:STORAGE_ACCOUNT_NAME 2>&1
}

$left = $deployments
while ($true) {
    $said = if ($way -eq 'queue') { Add-QueueSubscription } else { Add-AppSubscription }
    if ($LASTEXITCODE -eq 0) { break }
    $said = $said | Out-String
    $left--
    # Whoever may not make it may not in a minute either.
    if ($said -match 'AuthorizationFailed') { $left = 0 }
    if ($left -le 0) {
        # What az says of a failure may hold the address of the webhook, and that its key.
        [Console]::Error.WriteLine(($said -replace 'code=[^&"'' ]*', 'code=...'))
        Stop-Hook 'the subscription of uploads was not made.' @(
            'If it says that the endpoint could not be validated: the app did not confirm in time; repeat azd hooks run postdeploy',
            "If it names a right of yours: making it takes Contributor and reading the app's keys in $env:AZURE_RESOURCE_GROUP.",
            "If it names the queue or the dead-letter destination: the topic's rights are minutes old; repeat azd hooks run postdeploy")
    }
    Write-Output 'postdeploy: the subscription of uploads was not made yet (rights take minutes); trying again.'
    Start-Sleep -Seconds $pause
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

$found = az eventgrid system-topic event-subscription list --subscription $env:AZURE_SUBSCRIPTION_ID `
    --resource-group $env:AZURE_RESOURCE_GROUP --system-topic-name $env:UPLOADS_SYSTEM_TOPIC `
    --query "length([?name=='$former'])" --output tsv
if ($LASTEXITCODE -ne 0) {
    Stop-Hook "the subscriptions of $env:UPLOADS_SYSTEM_TOPIC could not be listed." @(
        'Uploads are announced. That none is announced twice, see to by: azd hooks run postdeploy')
}
if ($found -ne '0') {
    az eventgrid system-topic event-subscription delete --subscription $env:AZURE_SUBSCRIPTION_ID `
        --resource-group $env:AZURE_RESOURCE_GROUP --system-topic-name $env:UPLOADS_SYSTEM_TOPIC --name $former --yes --output none
    if ($LASTEXITCODE -ne 0) {
        Stop-Hook "the former subscription '$former' could not be deleted." @(
            'Uploads are announced twice until it is gone: azd hooks run postdeploy')
    }
    Write-Output "postdeploy: the former subscription '$former' was deleted."
}
if ($way -eq 'queue') {
    Write-Output 'postdeploy: uploads are announced by queue image-uploads.'
}
else {
    Write-Output "postdeploy: uploads are announced to $env:SERVICE_API_HOST."
}
