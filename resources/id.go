package resources

import "fmt"

// MaxID is the length of the longest identifier of a task, agent, framework or volume; each becomes a file name.
const MaxID = 200

// CheckID refuses an identifier that could mean anything else in a path, an argument or a cgroup's name: letters, digits,
// '.', '_' and '-', beginning with a letter or a digit.
func CheckID(s string) error {
	if s == "" || len(s) > MaxID {
		return fmt.Errorf("identifier %.40q has %d bytes, not 1 to %d", s, len(s), MaxID)
	}
	for i := range len(s) {
		c := s[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && (i == 0 || c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("identifier %.40q: byte %d is %q; use letters, digits, '.', '_' and '-', the first a letter or digit", s, i+1, c)
		}
	}
	return nil
}
