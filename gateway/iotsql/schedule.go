package iotsql

import (
	"github.com/tidehold/tidehold/gateway/iotsql/schedule"
)

// checkSchedule says what is wrong with the text of FROM SCHEDULE.
func checkSchedule(text string) error {
	_, err := schedule.Parse(text)
	return err
}
