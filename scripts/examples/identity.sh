#!/bin/bash
# The life of a device, told with the AWS command line and Mosquitto's clients:
# made, connected, kept to its own topics, and put out at once.
# Against AWS itself the lines are the same without --endpoint-url and --cafile.
#
#   export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...  # tidehold access-key create
#   tidehold ca get --out ca.pem
#   scripts/examples/identity.sh http://127.0.0.1:8444 gateway.local 8883 ca.pem
set -euo pipefail
control=$1 host=$2 port=$3 ca=$4
export AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-us-east-1} AWS_PAGER=
thing=lamp-sh
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

iot() { aws iot --endpoint-url "$control" --output text "$@"; }

# device TOOL ARGS...: one of Mosquitto's clients with the files of the device.
device() {
	local tool=$1
	shift
	stdbuf -oL "$tool" -h "$host" -p "$port" --cafile "$ca" --cert "$dir/cert.pem" --key "$dir/private.key" \
		-i "$thing" -V mqttv5 "$@"
}

iot create-thing --thing-name $thing --query thingArn
iot create-keys-and-certificate --set-as-active --query '[certificateArn,certificateId]' \
	--certificate-pem-outfile "$dir/cert.pem" --private-key-outfile "$dir/private.key" >"$dir/certificate"
read -r arn id <"$dir/certificate"
# shellcheck disable=SC2016 # the variables are those of the policy
iot create-policy --policy-name $thing --query policyArn --policy-document '{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
    {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": "arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}/*"},
    {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:*:*:topicfilter/dt/${iot:Connection.Thing.ThingName}/*"}
  ]}'
iot attach-policy --policy-name $thing --target "$arn"
iot attach-thing-principal --thing-name $thing --principal "$arn"

device mosquitto_pub -q 1 -t dt/$thing/light -m on
echo "may publish to dt/$thing/light"
# Mosquitto's client prints the refusal, and fails only if it reads the
# DISCONNECT behind it before it has left by itself.
if device mosquitto_pub -q 1 -t dt/other/light -m on 2>"$dir/refusal" && ! grep -q 'Not authorized' "$dir/refusal"; then
	echo "could publish to dt/other/light" >&2
	exit 1
fi
echo "may not publish to dt/other/light"

device mosquitto_sub -t "dt/$thing/#" -d >"$dir/log" &
subscriber=$!
for _ in {1..300}; do
	if grep -q SUBACK "$dir/log"; then break; fi
	sleep 0.1
done
iot update-certificate --certificate-id "$id" --new-status INACTIVE
answered=$(date +%s%3N)
timeout 30 tail --pid=$subscriber -s 0.01 -f /dev/null
echo "is out $(($(date +%s%3N) - answered)) ms after the answer to update-certificate"
grep -q 'DISCONNECT (152)' "$dir/log"
if device mosquitto_pub -q 1 -t dt/$thing/light -m on; then
	echo "could come back with an inactive certificate" >&2
	exit 1
fi
echo "stays out"

iot detach-thing-principal --thing-name $thing --principal "$arn"
iot detach-policy --policy-name $thing --target "$arn"
iot delete-certificate --certificate-id "$id"
iot delete-policy --policy-name $thing
iot delete-thing --thing-name $thing
