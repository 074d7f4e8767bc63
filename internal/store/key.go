package store

import (
	"fmt"
	"strings"

	"github.com/weir-project/weir/internal/fault"
)

const (
	// MaxKey is the longest key, in bytes.
	MaxKey = 512
	// MaxValue is the largest value, in bytes.
	MaxValue = 512 << 10

	subjectRoot = "weir.state."
)

// checkKey refuses what is not segments of [a-zA-Z0-9_-] joined by '/'. Since no segment holds a dot, key and subject map onto
// each other one to one.
func checkKey(key string) error {
	refuse := func(format string, args ...any) error {
		return fault.Invalid("E-KEY", "read key", fmt.Sprintf("%.100q", key), fault.Causef(format, args...),
			fault.Hint("use segments of letters, digits, '_' and '-', joined by '/'"))
	}
	if len(key) > MaxKey {
		return refuse("it has %d bytes, more than %d", len(key), MaxKey)
	}
	for _, segment := range strings.Split(key, "/") {
		if segment == "" {
			return refuse("it has an empty segment")
		}
		for i := range len(segment) {
			if c := segment[i]; !keyByte(c) {
				return refuse("segment %q has the byte %q", segment, c)
			}
		}
	}
	return nil
}

func keyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func subjectOf(key string) string { return subjectRoot + strings.ReplaceAll(key, "/", ".") }

func keyOf(subject string) string {
	return strings.ReplaceAll(strings.TrimPrefix(subject, subjectRoot), ".", "/")
}

// under reports whether key is prefix or lies below it, by whole segments: "a/b" is under "a", "ab" is not.
func under(key, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return prefix == "" || key == prefix || strings.HasPrefix(key, prefix) && key[len(prefix)] == '/'
}
