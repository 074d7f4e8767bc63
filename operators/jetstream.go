package operators

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// JetStream is a stream of a NATS as it shall be, or as it was read.
type JetStream struct {
	Name       string        `json:"name"`
	Subjects   []string      `json:"subjects"`
	MaxBytes   int64         `json:"max_bytes,omitempty"`  // beyond which its oldest messages go; 0: the server's own limit
	Duplicates time.Duration `json:"duplicates,omitempty"` // window in which a message's id is known again
	Retention  string        `json:"retention,omitempty"`  // limits, workqueue or interest
}

// Differs says what a stream that was read lacks of what s asks for; empty when it lacks nothing. How much it keeps is its owner's.
func (s JetStream) Differs(have JetStream) string {
	var out []string
	for _, subject := range s.Subjects {
		if !slices.ContainsFunc(have.Subjects, func(pattern string) bool { return MatchSubject(pattern, subject) }) {
			out = append(out, fmt.Sprintf("it takes %s and not %s", strings.Join(have.Subjects, ", "), subject))
		}
	}
	if have.Duplicates < s.Duplicates {
		out = append(out, fmt.Sprintf("its duplicate window is %s and should be %s", have.Duplicates, s.Duplicates))
	}
	return strings.Join(out, "; ")
}

// MatchSubject reports whether a subject is one of a pattern's: * is one token, > all that follow.
func MatchSubject(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}
