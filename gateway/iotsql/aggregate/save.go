package aggregate

import (
	"encoding/json"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// saved is the JSON form of a Sum.
type saved struct {
	N       int64         `json:"n"`
	Total   value.Value   `json:"total"`
	Squares value.Value   `json:"squares"`
	Broken  bool          `json:"broken,omitempty"`
	Kept    value.Value   `json:"kept"`
	List    []value.Value `json:"list,omitempty"`
}

// MarshalJSON writes s for a restart.
func (s *Sum) MarshalJSON() ([]byte, error) {
	return json.Marshal(saved{s.n, s.total.Value(), s.squares.Value(), s.broken, s.kept, s.list})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Sum) UnmarshalJSON(text []byte) error {
	var in saved
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	total, _ := in.Total.Num()
	squares, _ := in.Squares.Num()
	*s = Sum{in.N, total, squares, in.Broken, in.Kept, in.List}
	return nil
}
