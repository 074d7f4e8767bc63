package charts

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/weir-project/weir/stacks"
)

var rewrite = flag.Bool("rewrite", false, "write what is generated")

const header = "# Generated from the declaration in stacks/declare.go: make generate\n"

// TestTheChartHoldsTheDefinition: editors, kubectl and the loader read one declaration (D14).
func TestTheChartHoldsTheDefinition(t *testing.T) {
	var want bytes.Buffer
	want.WriteString(header)
	e := yaml.NewEncoder(&want)
	e.SetIndent(2)
	if err := e.Encode(stacks.CustomResource()); err != nil {
		t.Fatal(err)
	}
	current(t, "weir/crds/stacks.weir.dev.yaml", want.Bytes())
}

// current compares a generated file, or writes it.
func current(t *testing.T, name string, want []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("charts/%s is not what the declaration says (%v): make generate", name, err)
	}
}
