#!/bin/sh
# After `azd provision`: makes the key that callbacks are signed with, where callbacks are allowed and there is none.
# It is made here, goes by a file that only this user can read, and is shown nowhere. Safe to repeat: a key that is
# there is kept. `azd hooks run postprovision` repeats it.
set -eu

secret=callback-signing-key
here=$(cd "$(dirname "$0")" && pwd)

fail() {
  printf 'postprovision: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}

[ "${CALLBACKS_ALLOWED:-no}" = yes ] || exit 0

for name in AZURE_RESOURCE_GROUP AZURE_SUBSCRIPTION_ID KEY_VAULT_NAME SERVICE_API_NAME; do
  eval "value=\${$name:-}"
  [ -n "$value" ] || fail "$name is not set." "Run it by azd, which knows what it made: azd hooks run postprovision"
done
command -v az >/dev/null 2>&1 || fail "the Azure CLI (az) is not there." \
  "Install it (https://aka.ms/azure-cli), then: azd hooks run postprovision"
az account show --output none 2>/dev/null || fail "az is not signed in." \
  "Run: az login, then: azd hooks run postprovision"

group=/subscriptions/$AZURE_SUBSCRIPTION_ID/resourceGroups/$AZURE_RESOURCE_GROUP
vault=$group/providers/Microsoft.KeyVault/vaults/$KEY_VAULT_NAME
found=$(az rest --method get --url "$vault/secrets?api-version=2023-07-01" \
  --query "length(value[?name=='$secret'])" --output tsv) || fail "the secrets of $KEY_VAULT_NAME could not be listed." \
  "You need the right to read the resource group $AZURE_RESOURCE_GROUP. Then: azd hooks run postprovision"
if [ "$found" != 0 ]; then
  echo "postprovision: the callback signing key is there already."
  exit 0
fi

umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
key=whsec_$(head -c 32 /dev/urandom | base64 | tr -d '\n')
cat >"$folder/parameters.json" <<END
{
  "\$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {"vaultName": {"value": "$KEY_VAULT_NAME"}, "key": {"value": "$key"}}
}
END
unset key

az deployment group create --subscription "$AZURE_SUBSCRIPTION_ID" --resource-group "$AZURE_RESOURCE_GROUP" \
  --name darkroom-callback-key --template-file "$here/../callback-key.bicep" \
  --parameters "@$folder/parameters.json" --output none || fail "the callback signing key could not be stored." \
  "You need the right to write to the resource group $AZURE_RESOURCE_GROUP. Then: azd hooks run postprovision" \
  "Until then requests with a callback_url are refused."

# The app read its reference before there was a key; otherwise it would see it a day later.
az rest --method post --output none \
  --url "$group/providers/Microsoft.Web/sites/$SERVICE_API_NAME/config/configreferences/appsettings/refresh?api-version=2022-03-01" ||
  fail "the key is stored, but the app was not told." "It sees it within a day, or at once after: azd deploy"
echo "postprovision: a callback signing key was made."
