// Package spelling finds the word that somebody meant: keys of the configuration,
// names of functions. Pure; the work is bounded by the words' lengths.
package spelling

// nearestLengthMax bounds the work of Nearest.
const nearestLengthMax = 64

// Nearest gives the word that is most like got: at most two slips away, or
// three in longer words. False when none is.
func Nearest(got string, words []string) (string, bool) {
	if got == "" || len(got) > nearestLengthMax {
		return "", false
	}
	best, distance := "", 0
	for _, w := range words {
		if d := slips(got, w); best == "" || d < distance {
			best, distance = w, d
		}
	}
	limit := 1
	switch n := max(len(got), len(best)); {
	case n >= 9:
		limit = 3
	case n >= 4:
		limit = 2
	}
	return best, best != "" && distance <= limit
}

// slips is the edit distance with swapped neighbours as one slip (optimal
// string alignment), on bytes.
func slips(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
