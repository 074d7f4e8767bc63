package stacks_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/stacks"
)

// TestLoad reads the documents in testdata/load and prints the stack, or what is wrong with it as a user sees it.
func TestLoad(t *testing.T) {
	datadriven.RunTest(t, "testdata/load", func(t *testing.T, d *datadriven.TestData) string {
		s, err := stacks.Load("stack.yaml", []byte(d.Input))
		if err != nil {
			if got := fault.ExitCode(err); got != fault.ExitInvalid {
				t.Errorf("%s: exit code %d, want %d", d.Pos, got, fault.ExitInvalid)
			}
			var b bytes.Buffer
			fault.Render(&b, err, false)
			return b.String()
		}
		out, err := json.MarshalIndent(s, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(out) + "\n"
	})
}

func TestTheCatalogueLoads(t *testing.T) {
	src, err := os.ReadFile("catalog/flights/stack.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := stacks.Load("stack.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Services) != 3 || s.Operators()["events"] != "kafka" || len(s.Pipelines) != 1 {
		t.Errorf("the flights stack is %+v", s)
	}
}

// FuzzLoad: whatever comes in, Load answers with a stack or with diagnostics, and never panics.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("apiVersion: weir.dev/v1\nkind: Stack\nmetadata: {name: a}\nspec: {services: {b: {operator: kafka}}}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("spec: {services: [1], pipelines: {a: b}}"))
	f.Fuzz(func(t *testing.T, src []byte) {
		s, err := stacks.Load("f", src)
		if (s == nil) == (err == nil) {
			t.Errorf("stack %v, error %v", s, err)
		}
	})
}
