#!/usr/bin/python3
"""The life of a device, told with boto3 and paho: made, connected, kept to its
own topics, and put out at once.

  export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...  # tidehold access-key create
  tidehold ca get --out ca.pem
  scripts/examples/identity.py http://127.0.0.1:8444 gateway.local 8883 ca.pem
"""
import json
import os
import queue
import sys
import tempfile
import time

import boto3
import paho.mqtt.client as mqtt

control, host, port, ca = sys.argv[1:5]
thing = "lamp-py"
iot = boto3.client("iot", endpoint_url=control, region_name=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))

iot.create_thing(thingName=thing, attributePayload={"attributes": {"room": "hall"}})
made = iot.create_keys_and_certificate(setAsActive=True)
name = "${iot:Connection.Thing.ThingName}"
iot.create_policy(policyName=thing, policyDocument=json.dumps({
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/" + name},
        {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": f"arn:aws:iot:*:*:topic/dt/{name}/*"},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": f"arn:aws:iot:*:*:topicfilter/dt/{name}/*"},
    ],
}))
iot.attach_policy(policyName=thing, target=made["certificateArn"])
iot.attach_thing_principal(thingName=thing, principal=made["certificateArn"])
with tempfile.TemporaryDirectory() as folder:
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "private.key")
    with open(cert, "w") as f:
        f.write(made["certificatePem"])
    with open(key, "w") as f:
        f.write(made["keyPair"]["PrivateKey"])
    device = mqtt.Client(client_id=thing, protocol=mqtt.MQTTv311, reconnect_on_failure=False)
    device.tls_set(ca_certs=ca, certfile=cert, keyfile=key)

connected, granted, heard, ended = queue.Queue(), queue.Queue(), queue.Queue(), queue.Queue()
device.on_connect = lambda _c, _u, _f, code: connected.put(code)
device.on_subscribe = lambda _c, _u, _mid, codes: granted.put(codes)
device.on_message = lambda _c, _u, message: heard.put((message.topic, message.payload))
device.on_disconnect = lambda _c, _u, _code: ended.put(time.monotonic())


def connect():
    device.connect(host, int(port))
    device.loop_start()
    code = connected.get(timeout=30)
    assert code == 0, code


connect()
device.subscribe(f"dt/{thing}/#", 1)
assert granted.get(timeout=30) == (1,)
device.publish(f"dt/{thing}/light", "on", 1)
assert heard.get(timeout=30) == (f"dt/{thing}/light", b"on")
print(f"may publish to dt/{thing}/light")

device.subscribe("dt/other/#", 1)
assert granted.get(timeout=30) == (0x80,)
device.publish("dt/other/light", "on", 1)
ended.get(timeout=30)
device.loop_stop()
print("may neither subscribe to dt/other/# nor publish there")

connect()
iot.update_certificate(certificateId=made["certificateId"], newStatus="INACTIVE")
answered = time.monotonic()
late = ended.get(timeout=30) - answered
device.loop_stop()
print(f"is out {1000 * late:.0f} ms after the answer to update_certificate")
try:
    device.connect(host, int(port))
    while device.loop() == mqtt.MQTT_ERR_SUCCESS and connected.empty():
        pass
except OSError:
    pass  # the handshake ends with "bad certificate"
assert connected.empty(), "could come back with an inactive certificate"
print("stays out")

iot.detach_thing_principal(thingName=thing, principal=made["certificateArn"])
iot.detach_policy(policyName=thing, target=made["certificateArn"])
iot.delete_certificate(certificateId=made["certificateId"])
iot.delete_policy(policyName=thing)
iot.delete_thing(thingName=thing)
