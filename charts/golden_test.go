package charts

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The goldens are what Helm renders from testdata/NAME.values.yaml. Their first line names what they were rendered from, so that a chart
// that changed without them is noticed where there is no Helm too; make verify-kubernetes has the pinned one and renders them again.
func TestTheGoldensAreOfThisChart(t *testing.T) {
	for name, values := range cases(t) {
		head := fmt.Sprintf("# Rendered from %s: make goldens\n", inputs(t, values))
		golden := "testdata/" + name + ".golden.yaml"
		if !*rewrite && os.Getenv("WEIR_KUBERNETES_TESTBED") == "" {
			got, err := os.ReadFile(golden)
			if err != nil || !strings.HasPrefix(string(got), head) {
				t.Errorf("charts/%s was not rendered from this chart (%v): make goldens", golden, err)
			}
			continue
		}
		helm, err := exec.LookPath("helm")
		if err != nil {
			t.Fatalf("%v: scripts/kubernetes-testbed build makes one; put it on the PATH", err)
		}
		lint := exec.Command(helm, "lint", "--strict", "--values", values, "weir")
		if out, err := lint.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", lint, err, out)
		}
		c := exec.Command(helm, "template", "weir", "weir", "--namespace", "team", "--include-crds=false", "--values", values)
		var stderr bytes.Buffer
		c.Stderr = &stderr
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", c, err, &stderr)
		}
		current(t, golden, append([]byte(head), out...))
	}
}

// cases are the files of values by name.
func cases(t *testing.T) map[string]string {
	t.Helper()
	found, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(found) < 2 {
		t.Fatalf("the values are %v, %v", found, err)
	}
	out := map[string]string{}
	for _, f := range found {
		out[strings.TrimSuffix(filepath.Base(f), ".values.yaml")] = f
	}
	return out
}

// inputs is a hash of all that a golden is rendered from.
func inputs(t *testing.T, values string) string {
	t.Helper()
	h := sha256.New()
	add := func(name string) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(data), data)
	}
	add(values)
	err := filepath.WalkDir("weir", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(name, "weir/crds/") {
			add(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}
