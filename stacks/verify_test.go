package stacks

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestVerifyTheSchemaOnAnAPIServer: what this folder's tests say of a document, a real API server says too, its rules included
// (make verify-kubernetes; a dry run changes nothing).
func TestVerifyTheSchemaOnAnAPIServer(t *testing.T) {
	if os.Getenv("WEIR_KUBERNETES_TESTBED") == "" {
		t.Skip("needs an API server: make verify-kubernetes")
	}
	kubectl := func(stdin string, args ...string) (string, error) {
		c := exec.Command("kubectl", args...)
		c.Stdin = strings.NewReader(stdin)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := kubectl("", "apply", "--server-side", "-f", "../charts/weir/crds"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := kubectl("", "wait", "--for=condition=established", "--timeout=30s", "crd/"+Definition); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	docs := documents(t)
	datadriven.RunTest(t, "testdata/schema", func(_ *testing.T, d *datadriven.TestData) string {
		docs[d.Pos] = []byte(d.Input)
		return d.Expected
	})
	accepted, refused := 0, 0
	for name, src := range docs {
		doc, err := plain(src)
		if err != nil || doc == nil {
			continue // kubectl reads no YAML here either
		}
		out, err := kubectl(string(src), "create", "--dry-run=server", "--validate=strict", "-f", "-")
		complaints := apiServer(t, doc)
		if (err == nil) != (len(complaints) == 0) {
			t.Errorf("%s: the API server says %v: %s\nthe tests say %q", name, err, out, complaints)
		}
		if err == nil {
			accepted++
		} else {
			refused++
		}
	}
	if accepted < 3 || refused < 3 {
		t.Errorf("%d were accepted and %d refused: too few to compare", accepted, refused)
	}
	t.Logf("%d accepted, %d refused, by both", accepted, refused)
}
