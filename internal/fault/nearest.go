package fault

import "strings"

// Nearest is the candidate that word was probably meant to be, for "did you mean"; empty when none is near enough. Near is
// at most one edit (insert, delete, replace, swap of neighbours; case does not count) for every three letters, and at least
// one. Of equally near candidates the first in the alphabet wins, so that the answer does not depend on their order.
func Nearest(word string, candidates []string) string {
	limit := max(1, len([]rune(word))/3)
	best, bestDistance := "", limit+1
	for _, c := range candidates {
		if c == "" {
			continue
		}
		d := distance([]rune(strings.ToLower(word)), []rune(strings.ToLower(c)))
		if d < bestDistance || d == bestDistance && d <= limit && c < best {
			best, bestDistance = c, d
		}
	}
	return best
}

// DidYouMean is a hint made of Nearest, or fallback when nothing is near.
func DidYouMean(word string, candidates []string, fallback string) string {
	if near := Nearest(word, candidates); near != "" {
		return "did you mean " + near + "?"
	}
	return fallback
}

// distance is the optimal string alignment distance.
func distance(a, b []rune) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
