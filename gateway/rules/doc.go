// Package rules runs AWS IoT rules locally: it matches messages to rules,
// evaluates their SQL and performs their actions (rules.md sections 1, 5 to 9).
//
// Engine.Handle never waits: a message joins the queue of every rule it
// matches, and each rule works its queue off in order, one message at a time
// (rules.md section 8). A full queue (QueueMax) drops its oldest waiting
// message and counts it. Actions of one message run in the order of the list,
// each whatever became of the others; a failure goes to the rule's error
// action, once. What waits in a queue is in memory only: a message counts as
// accepted when the engine has it, as with AWS.
//
// Every action is checked against the rule's role after its templates are
// filled in, so a payload cannot steer a rule out of its role. A message born
// from a rule carries a hop count; at HopsMax the action fails with RuleLoop.
package rules
