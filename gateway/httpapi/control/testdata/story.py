# Talks to the control plane with boto3 as a user's script would.
import sys, json, boto3, subprocess, tempfile, os
from botocore.config import Config
from botocore import UNSIGNED
iot = boto3.client("iot", region_name="us-east-1", endpoint_url=sys.argv[1],
                   config=Config(signature_version=UNSIGNED, retries={"max_attempts": 1}))
EX = iot.exceptions

def refused(kind, call, **args):
    try:
        call(**args)
    except iot.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == kind, (kind, e.response)
        assert e.response["Error"]["Message"], e.response
        return e
    raise SystemExit("not refused: %s %s" % (kind, args))

assert iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"] == "gw.local"
iot.create_thing_type(thingTypeName="motor", thingTypeProperties={"thingTypeDescription": "turns", "searchableAttributes": ["kW"]}, tags=[{"Key": "a", "Value": "b"}])
t = iot.describe_thing_type(thingTypeName="motor")
assert t["thingTypeMetadata"]["deprecated"] is False and t["thingTypeMetadata"]["creationDate"].year >= 2025, t
assert iot.list_tags_for_resource(resourceArn=t["thingTypeArn"])["tags"] == [{"Key": "a", "Value": "b"}]
iot.untag_resource(resourceArn=t["thingTypeArn"], tagKeys=["a"])
iot.create_thing(thingName="m1", thingTypeName="motor", attributePayload={"attributes": {"kW": "3"}})
refused("ResourceAlreadyExistsException", iot.create_thing, thingName="m1")
iot.update_thing(thingName="m1", attributePayload={"attributes": {"room": "cellar"}, "merge": True}, expectedVersion=1)
refused("VersionConflictException", iot.update_thing, thingName="m1", attributePayload={"attributes": {}}, expectedVersion=1)
assert iot.describe_thing(thingName="m1")["attributes"] == {"kW": "3", "room": "cellar"}
assert [x["thingName"] for x in iot.list_things(attributeName="room", attributeValue="cellar")["things"]] == ["m1"]
assert [x["thingName"] for x in iot.list_things(thingTypeName="motor")["things"]] == ["m1"]
refused("InvalidRequestException", iot.delete_thing_type, thingTypeName="motor")
refused("ResourceNotFoundException", iot.describe_thing, thingName="ghost")

iot.create_thing_group(thingGroupName="house")
iot.create_thing_group(thingGroupName="cellar", parentGroupName="house", thingGroupProperties={"thingGroupDescription": "below", "attributePayload": {"attributes": {"a": "b"}}})
g = iot.describe_thing_group(thingGroupName="cellar")
assert g["thingGroupMetadata"]["rootToParentThingGroups"][0]["groupName"] == "house" and g["version"] == 1, g
assert iot.update_thing_group(thingGroupName="cellar", thingGroupProperties={"thingGroupDescription": "deep"})["version"] == 2
iot.add_thing_to_thing_group(thingGroupName="cellar", thingName="m1")
assert iot.list_things_in_thing_group(thingGroupName="house", recursive=True)["things"] == ["m1"]
assert [x["groupName"] for x in iot.list_thing_groups_for_thing(thingName="m1")["thingGroups"]] == ["cellar"]
assert [x["groupName"] for x in iot.list_thing_groups(parentGroup="house")["thingGroups"]] == ["cellar"]
assert [x["thingName"] for x in iot.search_index(queryString="thingGroupNames:cellar")["things"]] == ["m1"]

doc = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}, indent=1)
assert iot.create_policy(policyName="p", policyDocument=doc)["policyDocument"] == doc
refused("MalformedPolicyException", iot.create_policy, policyName="q", policyDocument="nope")
for _ in range(4):
    v = iot.create_policy_version(policyName="p", policyDocument=doc, setAsDefault=False)
refused("VersionsLimitExceededException", iot.create_policy_version, policyName="p", policyDocument=doc)
iot.set_default_policy_version(policyName="p", policyVersionId=v["policyVersionId"])
assert iot.get_policy(policyName="p")["defaultVersionId"] == "5"
vs = iot.list_policy_versions(policyName="p")["policyVersions"]
assert len(vs) == 5 and vs[0]["isDefaultVersion"] and vs[0]["createDate"].year >= 2025, vs
assert iot.get_policy_version(policyName="p", policyVersionId="1")["policyDocument"] == doc
refused("DeleteConflictException", iot.delete_policy_version, policyName="p", policyVersionId="5")
for n in "1234":
    iot.delete_policy_version(policyName="p", policyVersionId=n)

c = iot.create_keys_and_certificate(setAsActive=True)
arn, cid = c["certificateArn"], c["certificateId"]
iot.attach_policy(policyName="p", target=arn)
iot.attach_policy(policyName="p", target=iot.describe_thing_group(thingGroupName="cellar")["thingGroupArn"])
iot.attach_thing_principal(thingName="m1", principal=arn)
assert iot.list_thing_principals(thingName="m1")["principals"] == [arn]
assert iot.list_principal_things(principal=arn)["things"] == ["m1"]
assert [x["policyName"] for x in iot.list_attached_policies(target=arn)["policies"]] == ["p"]
assert len(iot.list_targets_for_policy(policyName="p")["targets"]) == 2
assert iot.list_principal_policies(principal=arn)["policies"][0]["policyName"] == "p"
assert len(iot.list_policy_principals(policyName="p")["principals"]) == 2
r = iot.test_authorization(principal=arn, clientId="m1", authInfos=[{"actionType": "CONNECT", "resources": [arn.split("cert/")[0] + "client/m1"]}])
assert r["authResults"][0]["authDecision"] == "ALLOWED", r
assert iot.get_effective_policies(principal=arn)["effectivePolicies"][0]["policyDocument"] == doc
refused("CertificateStateException", iot.delete_certificate, certificateId=cid)
iot.update_certificate(certificateId=cid, newStatus="INACTIVE")
refused("DeleteConflictException", iot.delete_certificate, certificateId=cid)
iot.update_certificate(certificateId=cid, newStatus="REVOKED")
refused("CertificateStateException", iot.update_certificate, certificateId=cid, newStatus="ACTIVE")
assert iot.describe_certificate(certificateId=cid)["certificateDescription"]["status"] == "REVOKED"
assert [x["certificateId"] for x in iot.list_certificates(pageSize=1)["certificates"]] == [cid]

d = tempfile.mkdtemp()
def sh(cmd, **kw):
    subprocess.run(cmd, shell=True, check=True, cwd=d, stderr=subprocess.DEVNULL, **kw)
def read(name):
    return open(os.path.join(d, name)).read()
sh("openssl req -newkey rsa:2048 -nodes -keyout k.key -out k.csr -subj /CN=mine")
a = iot.create_certificate_from_csr(certificateSigningRequest=read("k.csr"), setAsActive=True)
b = iot.create_certificate_from_csr(certificateSigningRequest=read("k.csr"))
assert a["certificateId"] != b["certificateId"]
open(os.path.join(d, "a.pem"), "w").write(a["certificatePem"])
fp = subprocess.check_output("openssl x509 -in a.pem -noout -fingerprint -sha256", shell=True, cwd=d, text=True)
assert fp.strip().split("=")[1].replace(":", "").lower() == a["certificateId"], fp
sh("openssl req -newkey rsa:1024 -nodes -keyout w.key -out w.csr -subj /CN=weak")
refused("InvalidRequestException", iot.create_certificate_from_csr, certificateSigningRequest=read("w.csr"))
sh("openssl req -newkey rsa:2048 -sha1 -nodes -keyout s.key -out s.csr -subj /CN=weak")
refused("InvalidRequestException", iot.create_certificate_from_csr, certificateSigningRequest=read("s.csr"))
sh("openssl req -x509 -newkey ed25519 -nodes -keyout e.key -out e.pem -subj /CN=ed -days 5")
e = iot.register_certificate_without_ca(certificatePem=read("e.pem"), status="ACTIVE")
assert iot.describe_certificate(certificateId=e["certificateId"])["certificateDescription"]["certificateMode"] == "SNI_ONLY"
refused("ResourceAlreadyExistsException", iot.register_certificate_without_ca, certificatePem=read("e.pem"))
sh("openssl req -x509 -newkey rsa:1024 -nodes -keyout r.key -out r.pem -subj /CN=r -days 5")
refused("CertificateValidationException", iot.register_certificate_without_ca, certificatePem=read("r.pem"))

sh("openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=AcmeCA -days 30 -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign")
code = iot.get_registration_code()["registrationCode"]
assert code == iot.get_registration_code()["registrationCode"]
def leaf(name, cn):
    sh("openssl req -newkey rsa:2048 -nodes -keyout %s.key -out %s.csr -subj /CN=%s" % (name, name, cn))
    sh("openssl x509 -req -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 5 -out %s.pem" % (name, name))
    return read(name + ".pem")
refused("RegistrationCodeValidationException", iot.register_ca_certificate, caCertificate=read("ca.pem"), verificationCertificate=leaf("v0", "wrong"))
ca = iot.register_ca_certificate(caCertificate=read("ca.pem"), verificationCertificate=leaf("v", code), setAsActive=True, allowAutoRegistration=True)
dca = iot.describe_ca_certificate(certificateId=ca["certificateId"])["certificateDescription"]
assert dca["status"] == "ACTIVE" and dca["autoRegistrationStatus"] == "ENABLE", dca
own = iot.register_certificate(certificatePem=leaf("own", "own"), caCertificatePem=read("ca.pem"), status="ACTIVE")
assert iot.list_certificates_by_ca(caCertificateId=ca["certificateId"])["certificates"][0]["certificateId"] == own["certificateId"]
assert len(iot.list_ca_certificates()["certificates"]) == 1
refused("CertificateStateException", iot.delete_ca_certificate, certificateId=ca["certificateId"])
iot.update_ca_certificate(certificateId=ca["certificateId"], newStatus="INACTIVE", newAutoRegistrationStatus="DISABLE")
iot.delete_ca_certificate(certificateId=ca["certificateId"])

iot.detach_thing_principal(thingName="m1", principal=arn)
iot.detach_policy(policyName="p", target=arn)
iot.delete_certificate(certificateId=cid)
iot.remove_thing_from_thing_group(thingGroupName="cellar", thingName="m1")
iot.delete_thing(thingName="m1")
iot.delete_thing(thingName="m1")
iot.delete_thing_group(thingGroupName="cellar")
iot.delete_policy(policyName="p")
iot.deprecate_thing_type(thingTypeName="motor")
iot.delete_thing_type(thingTypeName="motor")
for page in iot.get_paginator("list_certificates").paginate(PaginationConfig={"PageSize": 2}):
    assert len(page["certificates"]) <= 2
refused("ResourceNotFoundException", iot.list_jobs)
print("boto3 %s: the whole story" % boto3.__version__)
