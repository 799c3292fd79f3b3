package tail

import "time"

// Pace says how long what is only to be committed may wait for more. A commit
// costs a card the same 20 kB whether it holds one record or a hundred
// (telemetry.md 14).
type Pace struct {
	// Least is the time from one commit to the next, 0 commits at once.
	Least time.Duration
	// Most is the same for a stream, as long as fewer than enough records wait;
	// Least when it is less. A pause of half as long again as Least ends it:
	// publishers that wait for their acknowledgements send nothing meanwhile.
	Most time.Duration
}

const (
	enough      = 128       // records for which a commit is cheap
	fullRecords = 500       // that do not wait
	fullBytes   = 256 << 10 // their bytes
)

// Due is when held is to be committed, the last commit being at last and the
// newest of held from newest.
func (p Pace) Due(held Load, last, newest time.Time) time.Time {
	switch {
	case held.Records >= fullRecords || held.Bytes >= fullBytes:
		return time.Time{}
	case held.Records >= enough || p.Most <= p.Least:
		return last.Add(p.Least)
	}
	due, least := last.Add(p.Most), last.Add(p.Least)
	if quiet := newest.Add(p.Least * 3 / 2); quiet.Before(due) {
		due = quiet
	}
	if due.Before(least) {
		due = least
	}
	return due
}
