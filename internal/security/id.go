package security

import (
	"fmt"

	"github.com/weir-project/weir/internal/fault"
)

// MaxIDLength is the length of the longest identifier, that of a DNS label.
const MaxIDLength = 63

// ID names a thing that users name (stack, service, pipeline, stage): ^[a-z][a-z0-9-]{0,62}$. It is safe as a path element, a
// subject, a label and an argument, which is why nothing else may come near a path.
type ID string

// ParseID checks s; the error is fault.Invalid and says which character is wrong.
func ParseID(s string) (ID, error) {
	if cause := idProblem(s); cause != nil {
		return "", fault.Invalid("E-ID", "read identifier", fmt.Sprintf("%.80q", s), fault.Cause(cause),
			fault.Hint("use a lower-case letter, then up to 62 lower-case letters, digits or dashes, as in orders-eu"))
	}
	return ID(s), nil
}

func idProblem(s string) error {
	if s == "" {
		return fmt.Errorf("it is empty")
	}
	if len(s) > MaxIDLength {
		return fmt.Errorf("it has %d bytes, more than %d", len(s), MaxIDLength)
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z'
		if !letter && i == 0 {
			return fmt.Errorf("it begins with %q, not with a lower-case letter", c)
		}
		if !letter && c != '-' && (c < '0' || c > '9') {
			return fmt.Errorf("byte %d is %q", i+1, c)
		}
	}
	return nil
}
