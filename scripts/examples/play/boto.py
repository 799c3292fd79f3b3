"""boto3 in the play."""
import json
import sys

import boto3
from botocore.exceptions import ClientError

client = boto3.client("iot-data", endpoint_url=sys.argv[1])


def ask(operation, **arguments):
    answer = getattr(client, operation)(**arguments)
    answer.pop("ResponseMetadata")
    return json.load(answer["payload"]) if "payload" in answer else answer


def key(args):
    named = {"shadowName": args["shadow"]} if args.get("shadow") else {}
    return {"thingName": args["thing"], **named}


def publish(op, topic, payload, retain=False, user=None):
    properties = {"userProperties": user} if user else {}
    return ask(op, topic=topic, payload=payload.encode(), retain=retain, qos=1, **properties)


def shadows(thing):
    """Pages of one, as a long list has them; boto3 has no paginator for these."""
    found, token = [], {}
    while token is not None:
        page = ask("list_named_shadows_for_thing", thingName=thing, pageSize=1, **token)
        found += page["results"]
        token = {"nextToken": page["nextToken"]} if "nextToken" in page else None
    return {"results": found}


def topics():
    pages = client.get_paginator("list_retained_messages").paginate(PaginationConfig={"PageSize": 1})
    return {"results": [kept["topic"] for page in pages for kept in page["retainedTopics"]]}


commands = {
    "get": lambda a: ask("get_thing_shadow", **key(a)),
    "update": lambda a: ask("update_thing_shadow", **key(a), payload=json.dumps(a["body"])),
    "delete": lambda a: ask("delete_thing_shadow", **key(a)),
    "list": lambda a: shadows(a["thing"]),
    "topics": lambda a: topics(),
    "publish": lambda a: publish(**a),
    "retained": lambda a: {"results": [client.get_retained_message(topic=a["topic"])["payload"].decode()]},
}
for line in sys.stdin:
    args = json.loads(line)
    answer = {"answer": args["op"]}
    try:
        answer["value"] = commands[args["op"]](args)
    except ClientError as err:
        answer.update(error=err.response["Error"]["Code"], why=str(err))
    print(json.dumps(answer, default=str), flush=True)
