#!/bin/sh
# After `azd deploy`: subscribes the app to uploads, by webhook or by queue as UPLOAD_EVENTS_BY says. Safe to repeat:
# `azd hooks run postdeploy`.
#
# 1. by webhook: wait until the app answers and the platform knows the function and the trigger's key, since the key is
#    there only then and Event Grid asks the app to confirm
# 2. make the subscription (../upload-subscription.bicep, in which the key stays, or ../upload-subscription-by-queue.bicep),
#    again and again while Event Grid's rights are too young
# 3. wait until Event Grid has confirmed it
# 4. delete that of the other way, of a time before: events would come twice, or find nobody
set -eu

function=announce_upload
tries=${DARKROOM_HOOK_TRIES:-60}
deployments=${DARKROOM_HOOK_DEPLOYMENTS:-10}
pause=${DARKROOM_HOOK_SECONDS:-5}
way=${UPLOAD_EVENTS_BY:-webhook}
here=$(cd "$(dirname "$0")" && pwd)

if [ "$way" = queue ]; then
  subscription=uploads-to-queue
  former=uploads-to-app
else
  subscription=uploads-to-app
  former=uploads-to-queue
fi

fail() {
  printf 'postdeploy: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}

# until_true COMMAND...: repeat until it prints "true"
until_true() {
  left=$tries
  while [ "$left" -gt 0 ]; do
    [ "$("$@" 2>/dev/null || true)" = true ] && return 0
    left=$((left - 1))
    [ "$left" -gt 0 ] && sleep "$pause"
  done
  return 1
}

answers() { curl -fsS -m 20 -o /dev/null "https://$SERVICE_API_HOST/api/health" && echo true; }
function_known() {
  az functionapp function show --subscription "$AZURE_SUBSCRIPTION_ID" --resource-group "$AZURE_RESOURCE_GROUP" \
    --name "$SERVICE_API_NAME" --function-name "$function" --query 'name != `null`' --output tsv
}
key_known() {
  az functionapp keys list --subscription "$AZURE_SUBSCRIPTION_ID" --resource-group "$AZURE_RESOURCE_GROUP" \
    --name "$SERVICE_API_NAME" --query 'systemKeys.blobs_extension != `null`' --output tsv
}
subscribe_app() {
  az deployment group create --subscription "$AZURE_SUBSCRIPTION_ID" --resource-group "$AZURE_RESOURCE_GROUP" \
    --name darkroom-upload-subscription --template-file "$here/../upload-subscription.bicep" --output none \
    --parameters siteName="$SERVICE_API_NAME" systemTopicName="$UPLOADS_SYSTEM_TOPIC" \
    storageAccountName="$STORAGE_ACCOUNT_NAME" functionName="$function"
}
subscribe_queue() {
  az deployment group create --subscription "$AZURE_SUBSCRIPTION_ID" --resource-group "$AZURE_RESOURCE_GROUP" \
    --name darkroom-upload-subscription --template-file "$here/../upload-subscription-by-queue.bicep" --output none \
    --parameters systemTopicName="$UPLOADS_SYSTEM_TOPIC" storageAccountName="$STORAGE_ACCOUNT_NAME"
}
subscribe() { if [ "$way" = queue ]; then subscribe_queue; else subscribe_app; fi; }
confirmed() {
  az eventgrid system-topic event-subscription show --subscription "$AZURE_SUBSCRIPTION_ID" \
    --resource-group "$AZURE_RESOURCE_GROUP" --system-topic-name "$UPLOADS_SYSTEM_TOPIC" --name "$subscription" \
    --query "provisioningState == 'Succeeded'" --output tsv
}
former_there() {
  az eventgrid system-topic event-subscription list --subscription "$AZURE_SUBSCRIPTION_ID" \
    --resource-group "$AZURE_RESOURCE_GROUP" --system-topic-name "$UPLOADS_SYSTEM_TOPIC" \
    --query "length([?name=='$former'])" --output tsv
}
delete_former() {
  az eventgrid system-topic event-subscription delete --subscription "$AZURE_SUBSCRIPTION_ID" \
    --resource-group "$AZURE_RESOURCE_GROUP" --system-topic-name "$UPLOADS_SYSTEM_TOPIC" --name "$former" --yes --output none
}

for name in AZURE_RESOURCE_GROUP AZURE_SUBSCRIPTION_ID SERVICE_API_NAME SERVICE_API_HOST STORAGE_ACCOUNT_NAME UPLOADS_SYSTEM_TOPIC; do
  eval "value=\${$name:-}"
  [ -n "$value" ] || fail "$name is not set." "Run it by azd, which knows what it made: azd hooks run postdeploy"
done
for program in az curl; do
  [ "$program $way" = "curl queue" ] && continue
  command -v "$program" >/dev/null 2>&1 || fail "$program is not there; uploads are not announced yet." \
    "Install it (az: https://aka.ms/azure-cli), then: azd hooks run postdeploy"
done
az account show --output none 2>/dev/null || fail "az is not signed in; uploads are not announced yet." \
  "Run: az login, then: azd hooks run postdeploy"

if [ "$way" != queue ]; then
  until_true answers || fail "https://$SERVICE_API_HOST/api/health does not answer 200." \
    "See the app's log stream in the portal. When it answers: azd hooks run postdeploy"
  until_true function_known || fail "the app has no function '$function'." \
    "Its code was not read: see the app's log stream, then: azd deploy"
  until_true key_known || fail "the app has no key 'blobs_extension' yet." \
    "The host makes it when it has read a blob trigger. Wait some minutes, then: azd hooks run postdeploy"
fi

left=$deployments
until said=$(subscribe 2>&1); do
  left=$((left - 1))
  # Whoever may not make it may not in a minute either.
  case "$said" in *AuthorizationFailed*) left=0 ;; esac
  if [ "$left" -le 0 ]; then
    # What az says of a failure may hold the address of the webhook, and that its key.
    printf '%s\n' "$said" | sed 's/code=[^&"'\'' ]*/code=.../g' >&2
    fail "the subscription of uploads was not made." \
      "If it says that the endpoint could not be validated: the app did not confirm in time; repeat azd hooks run postdeploy" \
      "If it names a right of yours: making it takes Contributor and reading the app's keys in $AZURE_RESOURCE_GROUP." \
      "If it names the queue or the dead-letter destination: the topic's rights are minutes old; repeat azd hooks run postdeploy"
  fi
  echo "postdeploy: the subscription of uploads was not made yet (rights take minutes); trying again."
  sleep "$pause"
done
until_true confirmed || fail "Event Grid has not confirmed the subscription '$subscription'." \
  "Look at it in the portal (system topic $UPLOADS_SYSTEM_TOPIC), then: azd hooks run postdeploy"

found=$(former_there) || fail "the subscriptions of $UPLOADS_SYSTEM_TOPIC could not be listed." \
  "Uploads are announced. That none is announced twice, see to by: azd hooks run postdeploy"
if [ "$found" != 0 ]; then
  delete_former || fail "the former subscription '$former' could not be deleted." \
    "Uploads are announced twice until it is gone: azd hooks run postdeploy"
  echo "postdeploy: the former subscription '$former' was deleted."
fi
if [ "$way" = queue ]; then
  echo "postdeploy: uploads are announced by queue image-uploads."
else
  echo "postdeploy: uploads are announced to $SERVICE_API_HOST."
fi
