#!/bin/sh
# A cloud app over a plain broker. It reads the retained copy of a shadow, which
# is there while the gateway is away, and leaves its wish in a retained slot of
# its own, which waits for weeks; it clears the slot when the wish is done.
#
#   scripts/examples/cloud-app-plain.sh HOST PORT GATEWAY THING on|off
set -eu
host=$1 port=$2 root=shadow/$3/$4/~
case $5 in on) wish=true ;; *) wish=false ;; esac
slot=$root/want/my-app

# The token names this wish: seen again, it is not done again. With baseVersion
# (the version of the copy that was looked at) a newer local change may be kept.
mosquitto_pub -h "$host" -p "$port" -r -q 1 -t "$slot" \
	-m "{\"state\":{\"desired\":{\"on\":$wish}},\"clientToken\":\"my-app-$(date +%s)-$$\"}"
for _ in $(seq 100); do
	case $(mosquitto_sub -h "$host" -p "$port" -C 1 -W 1 -t "$root/doc" || true) in
	*'"reported":{'*"\"on\":$wish"*)
		mosquitto_pub -h "$host" -p "$port" -r -q 1 -n -t "$slot"
		echo "$4 has followed: on is $wish"
		exit 0
		;;
	esac
	sleep 0.2
done
echo "$4 has not followed yet; the wish waits in $slot" >&2
exit 1
