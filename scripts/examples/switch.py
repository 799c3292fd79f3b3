"""Switches a lamp through its device shadow, with boto3.

    python3 switch.py lamp-1 on http://127.0.0.1:8444

Keys come from the environment, as always: `tidehold access-key create`.
"""
import json
import sys
import time

import boto3

thing, word = sys.argv[1:3]
endpoint = sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:8444"
client = boto3.client("iot-data", endpoint_url=endpoint)

wish = {"state": {"desired": {"on": word == "on"}}}
answer = client.update_thing_shadow(thingName=thing, payload=json.dumps(wish))
print("wished in version", json.load(answer["payload"])["version"], flush=True)
while True:
    shadow = json.load(client.get_thing_shadow(thingName=thing)["payload"])
    if "delta" not in shadow["state"]:  # the lamp has not followed while there is one
        break
    time.sleep(0.5)
print(thing, "is", "on" if shadow["state"]["reported"]["on"] else "off")
