package iotsql

import "time"

// NextRun is the first time after after at which FROM SCHEDULE fires; cron
// follows after's time zone. False when it never does, or there is none.
func (s *Statement) NextRun(after time.Time) (time.Time, bool) { return s.runs.Next(after) }
