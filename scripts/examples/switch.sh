#!/bin/sh
# Switches a lamp through its device shadow, with the AWS CLI.
#
#   ./switch.sh lamp-1 on http://127.0.0.1:8444
#
# Keys come from the environment, as always: `tidehold access-key create`.
set -eu
thing=$1 word=$2 endpoint=${3:-http://127.0.0.1:8444}
[ "$word" = on ] && on=true || on=false

shadow() {
	verb=$1
	shift
	aws iot-data "$verb-thing-shadow" --endpoint-url "$endpoint" --cli-binary-format raw-in-base64-out \
		--thing-name "$thing" "$@" /dev/stdout
}

shadow update --payload "{\"state\":{\"desired\":{\"on\":$on}}}" >/dev/null
echo "wished"
while shadow get | grep -q '"delta"'; do sleep 0.5; done # the lamp has not followed while there is one
echo "$thing is $word"
