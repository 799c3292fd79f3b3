// Sends every operation that a list names with @aws-sdk/client-iot, each on what
// the ones before made, to a gateway without records.
// node operations.mjs http://HOST:PORT OPERATIONS.txt
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as aws from "@aws-sdk/client-iot";

const [endpoint, list] = process.argv.slice(2);
const iot = new aws.IoTClient({ endpoint, region: "us-east-1" });
const missing = new Set(readFileSync(list, "utf8").trim().split("\n").map((line) => line.split(" ")[0]));
const send = async (operation, input = {}) => {
  const answer = await iot.send(new aws[`${operation}Command`](input));
  assert.equal(answer.$metadata.httpStatusCode, 200, operation);
  missing.delete(operation);
  return answer;
};
const refused = async (name, operation, input) => {
  await assert.rejects(iot.send(new aws[`${operation}Command`](input)), { name }, operation);
};

const dir = mkdtempSync(join(tmpdir(), "tidehold-"));
process.on("exit", () => rmSync(dir, { recursive: true }));
const file = (name) => join(dir, name);
const pem = (name) => readFileSync(file(name), "utf8");
const openssl = (...words) => execFileSync("openssl", words, { stdio: "pipe" });
const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
const selfSigned = (name) => openssl("req", "-x509", ...newKey, "-days", "2", "-subj", `/CN=${name}`, "-keyout", file(`${name}.key`), "-out", file(`${name}.pem`));
const request = (name, subject) => openssl("req", ...newKey, "-subj", `/CN=${subject}`, "-keyout", file(`${name}.key`), "-out", file(`${name}.csr`));
const signed = (ca, name, subject) => {
  request(name, subject);
  openssl("x509", "-req", "-in", file(`${name}.csr`), "-CA", file(`${ca}.pem`), "-CAkey", file(`${ca}.key`), "-CAcreateserial", "-days", "1", "-out", file(`${name}.pem`));
  return pem(`${name}.pem`);
};
const document = (effect) => JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: effect, Action: "iot:*", Resource: "*" }] });
const names = (all, member) => all.map((one) => one[member]).sort();

// Things, their types and groups.
await send("CreateThingType", { thingTypeName: "pump", thingTypeProperties: { thingTypeDescription: "moves water", searchableAttributes: ["kW"] } });
assert.equal((await send("DescribeThingType", { thingTypeName: "pump" })).thingTypeProperties.thingTypeDescription, "moves water");
assert.deepEqual(names((await send("ListThingTypes")).thingTypes, "thingTypeName"), ["pump"]);
const thing = await send("CreateThing", { thingName: "p1", thingTypeName: "pump", attributePayload: { attributes: { kW: "3" } } });
await send("UpdateThing", { thingName: "p1", attributePayload: { attributes: { room: "cellar" }, merge: true }, expectedVersion: 1 });
await refused("VersionConflictException", "UpdateThing", { thingName: "p1", attributePayload: { attributes: {} }, expectedVersion: 1 });
const described = await send("DescribeThing", { thingName: "p1" });
assert.deepEqual([described.attributes, described.version, described.thingId], [{ kW: "3", room: "cellar" }, 2, thing.thingId]);
assert.deepEqual(names((await send("ListThings", { attributeName: "kW", attributeValue: "3" })).things, "thingName"), ["p1"]);
assert.deepEqual(names((await send("SearchIndex", { queryString: "attributes.room:cellar" })).things, "thingName"), ["p1"]);
await send("CreateThingGroup", { thingGroupName: "house" });
const cellar = await send("CreateThingGroup", { thingGroupName: "cellar", parentGroupName: "house" });
assert.equal((await send("UpdateThingGroup", { thingGroupName: "cellar", thingGroupProperties: { thingGroupDescription: "wet" } })).version, 2);
assert.equal((await send("DescribeThingGroup", { thingGroupName: "cellar" })).thingGroupMetadata.parentGroupName, "house");
assert.deepEqual(names((await send("ListThingGroups", { parentGroup: "house" })).thingGroups, "groupName"), ["cellar"]);
await send("AddThingToThingGroup", { thingGroupName: "cellar", thingName: "p1" });
assert.deepEqual((await send("ListThingsInThingGroup", { thingGroupName: "house", recursive: true })).things, ["p1"]);
assert.deepEqual(names((await send("ListThingGroupsForThing", { thingName: "p1" })).thingGroups, "groupName"), ["cellar"]);
await send("TagResource", { resourceArn: cellar.thingGroupArn, tags: [{ Key: "floor", Value: "-1" }] });
assert.deepEqual((await send("ListTagsForResource", { resourceArn: cellar.thingGroupArn })).tags, [{ Key: "floor", Value: "-1" }]);
await send("UntagResource", { resourceArn: cellar.thingGroupArn, tagKeys: ["floor"] });

// Certificates: made here, signed here, of a CA, of nobody.
const made = await send("CreateKeysAndCertificate", { setAsActive: true });
const { certificateId, certificateArn: target } = made;
request("own", "own");
const own = await send("CreateCertificateFromCsr", { certificateSigningRequest: pem("own.csr") });
assert.equal((await send("DescribeCertificate", { certificateId: own.certificateId })).certificateDescription.status, "INACTIVE");
selfSigned("pinned");
const pinned = await send("RegisterCertificateWithoutCA", { certificatePem: pem("pinned.pem"), status: "ACTIVE" });
selfSigned("factory");
const { registrationCode } = await send("GetRegistrationCode");
await refused("RegistrationCodeValidationException", "RegisterCACertificate", { caCertificate: pem("factory.pem"), verificationCertificate: signed("factory", "wrong", "wrong") });
const ca = await send("RegisterCACertificate", {
  caCertificate: pem("factory.pem"), verificationCertificate: signed("factory", "proof", registrationCode), setAsActive: true, allowAutoRegistration: true,
});
await refused("ResourceAlreadyExistsException", "RegisterCACertificate", { caCertificate: pem("factory.pem"), verificationCertificate: pem("proof.pem") });
const leaf = await send("RegisterCertificate", { certificatePem: signed("factory", "leaf", "leaf"), caCertificatePem: pem("factory.pem"), status: "ACTIVE" });
assert.equal((await send("DescribeCACertificate", { certificateId: ca.certificateId })).certificateDescription.autoRegistrationStatus, "ENABLE");
assert.deepEqual(names((await send("ListCACertificates")).certificates, "certificateId"), [ca.certificateId]);
assert.deepEqual(names((await send("ListCertificatesByCA", { caCertificateId: ca.certificateId })).certificates, "certificateId"), [leaf.certificateId]);
assert.equal((await send("ListCertificates", { ascendingOrder: true })).certificates.length, 4);

// Policies, and what they say.
await refused("MalformedPolicyException", "CreatePolicy", { policyName: "p", policyDocument: "{}" });
await send("CreatePolicy", { policyName: "p", policyDocument: document("Allow") });
await send("CreatePolicyVersion", { policyName: "p", policyDocument: document("Deny"), setAsDefault: true });
assert.equal((await send("GetPolicy", { policyName: "p" })).policyDocument, document("Deny"));
assert.equal((await send("GetPolicyVersion", { policyName: "p", policyVersionId: "1" })).policyDocument, document("Allow"));
assert.equal((await send("ListPolicyVersions", { policyName: "p" })).policyVersions.length, 2);
await refused("DeleteConflictException", "DeletePolicyVersion", { policyName: "p", policyVersionId: "2" });
await send("SetDefaultPolicyVersion", { policyName: "p", policyVersionId: "1" });
await send("DeletePolicyVersion", { policyName: "p", policyVersionId: "2" });
assert.ok(names((await send("ListPolicies")).policies, "policyName").includes("p"));
await send("AttachPolicy", { policyName: "p", target });
assert.deepEqual(names((await send("ListAttachedPolicies", { target })).policies, "policyName"), ["p"]);
assert.deepEqual((await send("ListTargetsForPolicy", { policyName: "p" })).targets, [target]);
const question = { principal: target, clientId: "p1", authInfos: [{ actionType: "PUBLISH", resources: [target.replace(/cert\/.*/, "topic/x")] }] };
assert.equal((await send("TestAuthorization", question)).authResults[0].authDecision, "ALLOWED");
assert.deepEqual(names((await send("GetEffectivePolicies", { principal: target })).effectivePolicies, "policyName"), ["p"]);
await refused("DeleteConflictException", "DeletePolicy", { policyName: "p" });
await send("DetachPolicy", { policyName: "p", target });
await send("AttachPrincipalPolicy", { policyName: "p", principal: target });
assert.deepEqual(names((await send("ListPrincipalPolicies", { principal: target })).policies, "policyName"), ["p"]);
assert.deepEqual((await send("ListPolicyPrincipals", { policyName: "p" })).principals, [target]);
await send("DetachPrincipalPolicy", { policyName: "p", principal: target });
await send("AttachThingPrincipal", { thingName: "p1", principal: target });
assert.deepEqual((await send("ListThingPrincipals", { thingName: "p1" })).principals, [target]);
assert.deepEqual((await send("ListPrincipalThings", { principal: target })).things, ["p1"]);
await refused("InvalidRequestException", "DeleteThing", { thingName: "p1" });

// Provisioning.
const templateBody = JSON.stringify({
  Parameters: { Serial: { Type: "String" }, CSR: { Type: "String" } },
  Resources: {
    thing: { Type: "AWS::IoT::Thing", Properties: { ThingName: { Ref: "Serial" } } },
    certificate: { Type: "AWS::IoT::Certificate", Properties: { CertificateSigningRequest: { Ref: "CSR" }, Status: "ACTIVE" } },
    policy: { Type: "AWS::IoT::Policy", Properties: { PolicyName: "p" } },
  },
});
request("bulk", "bulk");
const bulk = await send("RegisterThing", { templateBody, parameters: { Serial: "p2", CSR: pem("bulk.csr") } });
assert.match(bulk.certificatePem, /BEGIN CERTIFICATE/);
const bulkArn = (await send("ListThingPrincipals", { thingName: "p2" })).principals[0];
assert.ok(Object.values(bulk.resourceArns).includes(bulkArn), JSON.stringify(bulk.resourceArns));
await refused("InvalidRequestException", "RegisterThing", { templateBody: "{}", parameters: {} });
const template = { templateName: "fleet", templateBody, provisioningRoleArn: "arn:aws:iam::000000000000:role/fleet", enabled: true };
await send("CreateProvisioningTemplate", template);
assert.equal((await send("DescribeProvisioningTemplate", template)).templateBody, templateBody);
await send("UpdateProvisioningTemplate", { templateName: "fleet", description: "all" });
assert.deepEqual(names((await send("ListProvisioningTemplates")).templates, "description"), ["all"]);
assert.match((await send("CreateProvisioningClaim", template)).keyPair.PrivateKey, /PRIVATE KEY/);
await send("DeleteProvisioningTemplate", template);

// Rules.
const payload = { sql: "SELECT * FROM 'a/+'", awsIotSqlVersion: "2016-03-23", actions: [{ republish: { roleArn: "edge-default", topic: "b" } }] };
await refused("SqlParseException", "CreateTopicRule", { ruleName: "r", topicRulePayload: { ...payload, sql: "SELECT" } });
await send("CreateTopicRule", { ruleName: "r", topicRulePayload: payload });
await send("ReplaceTopicRule", { ruleName: "r", topicRulePayload: { ...payload, description: "second" } });
assert.equal((await send("GetTopicRule", { ruleName: "r" })).rule.description, "second");
await send("DisableTopicRule", { ruleName: "r" });
assert.deepEqual(names((await send("ListTopicRules", { ruleDisabled: true, maxResults: 10000 })).rules, "ruleName"), ["r"]);
await send("EnableTopicRule", { ruleName: "r" });
await send("DeleteTopicRule", { ruleName: "r" });
await refused("UnauthorizedException", "GetTopicRule", { ruleName: "r" });
assert.equal((await send("DescribeEndpoint", { endpointType: "iot:Data-ATS" })).endpointAddress, "localhost");

// All of it undone, in the order that AWS wants.
await send("DetachThingPrincipal", { thingName: "p1", principal: target });
await send("DetachThingPrincipal", { thingName: "p2", principal: bulkArn });
await refused("CertificateStateException", "DeleteCertificate", { certificateId });
for (const id of [certificateId, own.certificateId, pinned.certificateId, leaf.certificateId, bulkArn.split("/")[1]]) {
  await send("UpdateCertificate", { certificateId: id, newStatus: "REVOKED" });
  await send("DeleteCertificate", { certificateId: id, forceDelete: true });
}
await refused("CertificateStateException", "DeleteCACertificate", { certificateId: ca.certificateId });
await send("UpdateCACertificate", { certificateId: ca.certificateId, newStatus: "INACTIVE", newAutoRegistrationStatus: "DISABLE" });
await send("DeleteCACertificate", { certificateId: ca.certificateId });
await send("DeletePolicy", { policyName: "p" });
await send("RemoveThingFromThingGroup", { thingGroupName: "cellar", thingName: "p1" });
for (const thingName of ["p1", "p2"]) await send("DeleteThing", { thingName });
for (const thingGroupName of ["cellar", "house"]) await send("DeleteThingGroup", { thingGroupName });
await send("DeprecateThingType", { thingTypeName: "pump" });
await send("DeleteThingType", { thingTypeName: "pump" });
await refused("ResourceNotFoundException", "DescribeThing", { thingName: "p1" });
assert.deepEqual([...missing], [], "operations that nobody sent");
console.log("every operation answered");
