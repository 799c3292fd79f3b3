package spelling

import "testing"

func TestNearest_AcceptsSlipsOfThePen(t *testing.T) {
	words := []string{"address", "bus", "name", "telemetry", "poll"}
	for got, want := range map[string]string{"adress": "address", "adrses": "address", "nmae": "name", "telemtery": "telemetry", "bux": "bus", "pol": "poll",
		"zebra": "", "": "", "x": "", "options": ""} {
		near, ok := Nearest(got, words)
		if ok != (want != "") || ok && near != want {
			t.Errorf("%q: got %q, %v", got, near, ok)
		}
	}
	if _, ok := Nearest("a", nil); ok {
		t.Error("nothing is near in an empty list")
	}
}

func FuzzNearest(f *testing.F) {
	f.Add("adress", "address")
	f.Fuzz(func(t *testing.T, got, word string) {
		near, ok := Nearest(got, []string{"name", word})
		if ok && near != "name" && near != word {
			t.Errorf("%q is none of the words", near)
		}
	})
}
