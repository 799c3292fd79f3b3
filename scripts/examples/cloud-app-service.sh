#!/bin/sh
# A cloud app over an upstream with shadows of its own (AWS IoT Core, another
# Tidehold): it writes a wish, and waits until the device behind the gateway has
# followed. The gateway may be away meanwhile.
#
#   scripts/examples/cloud-app-service.sh HOST PORT THING on|off
set -eu
host=$1 port=$2 thing=$3
case $4 in on) wish=true ;; *) wish=false ;; esac
shadow="\$aws/things/$thing/shadow"

# ask OP BODY publishes a request and prints its answer.
ask() {
	mosquitto_rr -h "$host" -p "$port" -q 1 -W 20 -t "$shadow/$1" -e "$shadow/$1/accepted" -m "$2"
}

ask update "{\"state\":{\"desired\":{\"on\":$wish}},\"clientToken\":\"app-$$\"}"
for _ in $(seq 100); do
	case $(ask get '{}') in
	*'"reported":{'*"\"on\":$wish"*)
		echo "$thing has followed: on is $wish"
		exit 0
		;;
	esac
	sleep 0.2
done
echo "$thing has not followed yet; the wish stands and is done when its gateway is back" >&2
exit 1
