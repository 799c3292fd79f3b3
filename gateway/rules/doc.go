// Package rules runs AWS IoT rules locally: it matches messages to rules,
// evaluates their SQL and performs their actions (rules.md sections 1, 5 to 11).
//
// # Order and blocking
//
// Handle never waits: a message joins the intake (IntakeMax, IntakeBytes; full,
// the oldest goes and is counted), unless a look at its bytes shows that the only
// rule it concerns gives nothing. One goroutine evaluates all rules, in the
// order in which messages came. It reads each payload once however many rules
// look at it; the first three may search its bytes before that, which often
// spares the reading. A result joins its rule's queue (QueueMax, QueueBytes; full, the
// oldest goes, is counted, and the error action is told at most once a second).
// A rule that has something waiting has one worker, which performs results in
// order, one at a time; an idle rule has no goroutine. So a slow or dead action
// delays its own rule and nobody else. A rule whose SQL or templates look
// outside the message (get_thing_shadow, aws_lambda, …) is evaluated by its own
// worker too, for the same reason.
//
// Actions of one result run in the order of the list, each whatever became of
// the others; failures go to the rule's error action, once. Every action is
// checked against its role after its templates are filled in. A message born
// from a rule carries a hop count; at HopsMax the action fails with RuleLoop.
//
// # Durability
//
// Rules and roles that the API made are rows of state.db: a call that returned
// nil has been committed. What waits in a queue is in memory only: a message
// counts as accepted when the engine has it, as with AWS. The memory of
// windows, timers and functions with a state is stored every Config.Checkpoint
// and when Run ends, and taken up again by Load; what fell due in between fires
// at once. Results of windows, of FOR and of schedules are stored together with
// the memory that has let go of them before they are performed: after a crash
// such a result is performed again with the same value rather than lost, and
// never comes with another value.
//
// # Change at run time
//
// Create, Replace, Delete, Enable and Disable take effect for the next message;
// what is queued is performed as it was decided. Rules and roles of the
// configuration are read-only.
package rules
