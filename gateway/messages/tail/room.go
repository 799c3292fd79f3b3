package tail

// Room is what those wait for who found a tail full. The zero value has nobody
// waiting. Not safe for concurrent use, but for what it gives.
type Room struct{ closes chan struct{} }

// full is an error with the channel that tells when it is over.
type full struct {
	error
	room <-chan struct{}
}

func (f full) Room() <-chan struct{} { return f.room }
func (f full) Unwrap() error         { return f.error }

// Refuse gives err a method Room, whose channel is closed by the next Make.
func (r *Room) Refuse(err error) error {
	if r.closes == nil {
		r.closes = make(chan struct{})
	}
	return full{err, r.closes}
}

// Make tells all who wait that it is worth another try.
func (r *Room) Make() {
	if r.closes != nil {
		close(r.closes)
		r.closes = nil
	}
}
