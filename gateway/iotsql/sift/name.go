package sift

import "strings"

// name is a member's name as it stands in a text, found by its rarest byte:
// the first letter of most names is everywhere in a payload, and so are quotes.
type name struct {
	quoted string
	rare   byte
	at     int // of rare in quoted
}

// frequent are the bytes of readings, the most frequent first; what is not
// among them is rarer.
const frequent = `"0123456789etaionsrldcumhgpfbvywkxzjq`

func nameOf(text string) name {
	n, best := name{quoted: `"` + text + `"`}, -1
	for i := range len(text) {
		rank := strings.IndexByte(frequent, text[i])
		if rank < 0 {
			rank = len(frequent)
		}
		if rank > best {
			n.rare, n.at, best = text[i], i+1, rank
		}
	}
	if text == "" {
		n.rare = '"'
	}
	return n
}

// patience is how many places that are not the name are looked at one by one,
// beside one in 16 bytes: from there on a plain search is quicker.
const patience = 16

// after is what follows the first place of the name in text.
func (n *name) after(text string) (rest string, found bool) {
	for from, misses := n.at, 0; from < len(text); misses++ {
		next := strings.IndexByte(text[from:], n.rare)
		if next < 0 {
			return "", false
		}
		start := from + next - n.at
		if strings.HasPrefix(text[start:], n.quoted) {
			return text[start+len(n.quoted):], true
		}
		if misses > patience+from/16 {
			_, rest, found = strings.Cut(text[start+1:], n.quoted)
			return rest, found
		}
		from += next + 1
	}
	return "", false
}
