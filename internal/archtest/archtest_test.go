package archtest

import (
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cockroachdb/datadriven"
)

func TestTheHouseKeepsItsRules(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	// A loader that finds nothing would find no violation either.
	for _, pkg := range []string{"resources", "resources/allocator", "operators", "pipelines/column", "connectors", "stacks", "internal/cli", "cmd/weir", "cmd/weir-shim"} {
		if p := tree.Packages[pkg]; p == nil || len(p.Imports()) == 0 && pkg != "pipelines/column" && pkg != "resources" {
			t.Errorf("package %s was not found, or imports nothing", pkg)
		}
	}
	for _, v := range Check(tree) {
		t.Error(v)
	}
}

// Each file below testdata plants violations in a small tree and names what is found. A rule that cannot fail is no rule.
func TestPlantedViolationsAreFound(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, file string) {
		datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "check" {
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			tree, err := Load(plant(d.Input))
			if err != nil {
				return err.Error()
			}
			var out strings.Builder
			for _, v := range Check(tree) {
				out.WriteString(v.String() + "\n")
			}
			if out.Len() == 0 {
				return "ok"
			}
			return out.String()
		})
	})
}

// plant makes a tree of text: lines of the form `-- path --` begin files. A file that does not say its package gets the clause and a
// package comment, so that a test shows only what it is about. "weir/" in an import stands for the module.
func plant(text string) fstest.MapFS {
	tree := fstest.MapFS{}
	name := ""
	for line := range strings.Lines(text + "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "-- ") && strings.HasSuffix(trimmed, " --") {
			name = strings.Trim(trimmed, "- ")
			tree[name] = &fstest.MapFile{}
			continue
		}
		if name != "" {
			tree[name].Data = append(tree[name].Data, strings.ReplaceAll(line, `"weir/`, `"`+Module+"/")...)
		}
	}
	for name, f := range tree {
		if path.Ext(name) == ".go" && !strings.Contains(string(f.Data), "package ") {
			f.Data = append([]byte("// Package p is planted.\npackage p\n"), f.Data...)
		}
	}
	return tree
}

func TestAFileOfMoreThan600LinesIsTold(t *testing.T) {
	for lines, want := range map[int]int{600: 0, 601: 1} {
		text := "// Package resources is planted.\npackage resources\n" + strings.Repeat("\n", lines-2)
		tree, err := Load(fstest.MapFS{"resources/r.go": &fstest.MapFile{Data: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := Check(tree); len(got) != want {
			t.Errorf("%d lines: %v, want %d violations", lines, got, want)
		}
	}
}

func TestEveryRowOfTheTableIsReadOnce(t *testing.T) {
	seen := map[string]Ring{}
	for _, row := range rings {
		for _, p := range strings.Fields(row.packages) {
			p = strings.TrimSuffix(p, "/...")
			if other, twice := seen[p]; twice {
				t.Errorf("%s stands in the table as %s and as %s", p, other, row.ring)
			}
			seen[p] = row.ring
			if got := ringOf(p); got != row.ring {
				t.Errorf("ringOf(%s) = %q, the table says %q", p, got, row.ring)
			}
		}
	}
	lists := []string{everywhere}
	for _, l := range libraries {
		lists = append(lists, l.packages)
	}
	for from, to := range across {
		lists = append(lists, from, to)
	}
	for to, user := range only {
		lists = append(lists, to, user)
	}
	for pkg := range lean {
		lists = append(lists, pkg)
	}
	for pkg := range alone {
		lists = append(lists, pkg)
	}
	for _, p := range strings.Fields(strings.Join(lists, " ")) {
		if ringOf(strings.TrimSuffix(p, "/...")) == "" {
			t.Errorf("a rule names %s, which is in no ring", p)
		}
	}
}
