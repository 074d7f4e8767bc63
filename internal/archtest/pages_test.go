package archtest

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	pageInCode = regexp.MustCompile(`\bdocs/[a-z0-9/_-]+\.md\b`)
	link       = regexp.MustCompile(`\]\(([^)\s#]+)(#[^)]*)?\)`)
)

// deadPages lists what code and pages name and is not there.
func deadPages(root fs.FS) ([]string, error) {
	var dead []string
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(root, name)
		}
		var targets []string
		switch path.Ext(name) {
		case ".go":
			if strings.HasSuffix(name, "_test.go") {
				return nil
			}
			data, err := fs.ReadFile(root, name)
			if err != nil {
				return err
			}
			targets = pageInCode.FindAllString(string(data), -1)
		case ".md":
			data, err := fs.ReadFile(root, name)
			if err != nil {
				return err
			}
			for _, m := range link.FindAllStringSubmatch(string(data), -1) {
				if !strings.Contains(m[1], ":") {
					targets = append(targets, path.Join(path.Dir(name), m[1]))
				}
			}
		}
		for _, target := range targets {
			if _, err := fs.Stat(root, target); err != nil {
				dead = append(dead, name+" names "+target)
			}
		}
		return nil
	})
	return dead, err
}

func TestEveryPageThatIsNamedIsThere(t *testing.T) {
	dead, err := deadPages(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dead {
		t.Error(d)
	}
}

func TestDeadPagesAreFound(t *testing.T) {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	dead, err := deadPages(fstest.MapFS{
		"README.md":           text("[a](docs/a.md#part) [gone](docs/gone.md) [out](https://example.org/x.md)"),
		"docs/a.md":           text("[up](../README.md) [folder](adr) [bad](adr/9.md)"),
		"docs/adr/1.md":       text(""),
		"resources/r.go":      text("// see docs/a.md, docs/lost.md\n"),
		"resources/r_test.go": text("// docs/nowhere.md\n"),
		"testdata/skip.md":    text("[x](nowhere.md)"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"README.md names docs/gone.md", "docs/a.md names docs/adr/9.md", "resources/r.go names docs/lost.md"}
	if strings.Join(dead, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", dead, want)
	}
}
