package resourcetest

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-project/weir/resources"
)

func number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Occupy listens to some port of the ranges on 127.0.0.1 until the test ends.
func Occupy(t testing.TB, ranges []resources.Range) uint16 {
	t.Helper()
	for _, r := range ranges {
		for port := int(r.Begin); port <= int(r.End); port++ {
			if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
				t.Cleanup(func() {
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				})
				return uint16(port)
			}
		}
	}
	t.Fatalf("no free port in %v", ranges)
	return 0
}
