"""What scripts rely on (http-api.md section 2), asked of a whole gateway with boto3 and signed requests."""
import json
import sys

import boto3
from botocore.exceptions import ClientError

iot = boto3.client("iot", endpoint_url=sys.argv[1])


def refused(status, kind, call, **args):
    try:
        call(**args)
    except ClientError as e:
        meta, error = e.response["ResponseMetadata"], e.response["Error"]
        assert (meta["HTTPStatusCode"], error["Code"]) == (status, kind), e.response
        assert error["Message"] and meta["RequestId"] and meta["RetryAttempts"] == 0, e.response
        return error["Message"]
    raise SystemExit(f"{args} is not refused with {kind}")


assert iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"] == "localhost"

# What this gateway has not is a clean error, and is not asked for again.
for call in (iot.list_jobs, iot.list_role_aliases, iot.list_billing_groups, iot.list_authorizers, iot.get_v2_logging_options):
    refused(404, "ResourceNotFoundException", call)

# Rules: unknown ones are told as AWS does, with 401.
republish = {"republish": {"roleArn": "arn:aws:iam::000000000000:role/edge-default", "topic": "out", "qos": 1}}
rule = {"sql": "SELECT * FROM 'dt/+/x'", "actions": [republish], "description": "first"}
for call in (iot.get_topic_rule, iot.enable_topic_rule, iot.delete_topic_rule):
    assert refused(401, "UnauthorizedException", call, ruleName="ghost") == "Access to topic rule 'ghost' was denied"
refused(400, "SqlParseException", iot.create_topic_rule, ruleName="bad", topicRulePayload={"sql": "SELEC", "actions": []})
iot.create_topic_rule(ruleName="r1", topicRulePayload=rule)
refused(409, "ResourceAlreadyExistsException", iot.create_topic_rule, ruleName="r1", topicRulePayload=rule)
got = iot.get_topic_rule(ruleName="r1")["rule"]
assert got["actions"] == [republish] and got["awsIotSqlVersion"] == "2015-10-08" and not got["ruleDisabled"], got
iot.replace_topic_rule(ruleName="r1", topicRulePayload={**rule, "description": "second", "awsIotSqlVersion": "2016-03-23"})
assert iot.get_topic_rule(ruleName="r1")["rule"]["description"] == "second"
iot.disable_topic_rule(ruleName="r1")
assert [r["ruleName"] for r in iot.list_topic_rules(topic="dt/a/x", ruleDisabled=True, maxResults=10000)["rules"]] == ["r1"]
iot.enable_topic_rule(ruleName="r1")
iot.delete_topic_rule(ruleName="r1")
assert iot.list_topic_rules()["rules"] == []

# What the configuration declares can be read, attached to and not changed.
certificate = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
assert iot.describe_thing(thingName="fixed")["attributes"] == {"room": "hall"}
for call, args in ((iot.update_thing, {"attributePayload": {"attributes": {}}}), (iot.delete_thing, {})):
    assert "configuration" in refused(400, "InvalidRequestException", call, thingName="fixed", **args)
for call, args in ((iot.create_policy_version, {"policyDocument": iot.get_policy(policyName="reader")["policyDocument"]}), (iot.delete_policy, {})):
    assert "configuration" in refused(400, "InvalidRequestException", call, policyName="reader", **args)
iot.attach_thing_principal(thingName="fixed", principal=certificate)
iot.attach_policy(policyName="reader", target=certificate)

# Policies of a thing, of nested groups, and their effect.
document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "iot:Publish", "Resource": "*"}]})
iot.create_thing_group(thingGroupName="house")
iot.create_thing_group(thingGroupName="hall", parentGroupName="house")
iot.create_policy(policyName="quiet", policyDocument=document)
iot.attach_policy(policyName="quiet", target=iot.describe_thing_group(thingGroupName="house")["thingGroupArn"])
iot.update_thing_groups_for_thing(thingName="fixed", thingGroupsToAdd=["hall"])
names = lambda answer, member: sorted(p["policyName"] for p in answer[member])
assert names(iot.get_effective_policies(principal=certificate, thingName="fixed"), "effectivePolicies") == ["device-default", "quiet", "reader"]
assert names(iot.list_attached_policies(target=certificate, recursive=True), "policies") == ["quiet", "reader"]
topic = certificate.split("cert/")[0] + "topic/dt/fixed/x"
ask = lambda **more: iot.test_authorization(principal=certificate, clientId="fixed", authInfos=[{"actionType": "PUBLISH", "resources": [topic]}], **more)["authResults"][0]
assert ask()["authDecision"] == "EXPLICIT_DENY" and ask()["denied"]["explicitDeny"]["policies"][0]["policyName"] == "quiet", ask()
assert ask(policyNamesToSkip=["quiet"])["authDecision"] == "ALLOWED"
iot.update_thing_groups_for_thing(thingName="fixed", thingGroupsToRemove=["hall"])
assert ask()["authDecision"] == "ALLOWED"

# Search by attribute, and pages to the end.
for i in range(7):
    iot.create_thing(thingName=f"t{i}", attributePayload={"attributes": {"odd": str(i % 2)}})
assert [t["thingName"] for t in iot.search_index(queryString="attributes.odd:1")["things"]] == ["t1", "t3", "t5"]
pages = list(iot.get_paginator("list_things").paginate(PaginationConfig={"PageSize": 3}))
assert [len(p["things"]) for p in pages] == [3, 3, 2] and "nextToken" not in pages[-1], pages
pages = list(iot.get_paginator("list_policies").paginate(ascendingOrder=True, PaginationConfig={"PageSize": 2}))
assert names({"policies": sum((p["policies"] for p in pages), [])}, "policies") == ["device-default", "local-default", "quiet", "reader"]

# Provisioning templates.
body = json.dumps({"Parameters": {"Serial": {"Type": "String"}}, "Resources": {
    "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Serial"}}},
    "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}}}})
role = "arn:aws:iam::000000000000:role/provisioning"
refused(400, "InvalidRequestException", iot.create_provisioning_template, templateName="bad", templateBody="{}", provisioningRoleArn=role)
iot.create_provisioning_template(templateName="fleet", templateBody=body, provisioningRoleArn=role, enabled=True)
refused(409, "ResourceAlreadyExistsException", iot.create_provisioning_template, templateName="fleet", templateBody=body, provisioningRoleArn=role)
assert iot.describe_provisioning_template(templateName="fleet")["templateBody"] == body
claim = iot.create_provisioning_claim(templateName="fleet")
assert claim["keyPair"]["PrivateKey"] and claim["expiration"]
iot.update_provisioning_template(templateName="fleet", description="all of them")
assert iot.list_provisioning_templates()["templates"][0]["description"] == "all of them"
iot.delete_provisioning_template(templateName="fleet")
refused(404, "ResourceNotFoundException", iot.describe_provisioning_template, templateName="fleet")
