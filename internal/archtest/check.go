package archtest

import (
	"cmp"
	"fmt"
	"go/token"
	"path"
	"slices"
	"strings"
)

// Violation is a rule that a place in the source breaks, with what to do about it.
type Violation struct {
	Place string // file:line, or a package
	Text  string
}

func (v Violation) String() string { return v.Place + ": " + v.Text }

// Check holds every rule against a tree and returns what breaks them, in the order of the places.
func Check(t *Tree) []Violation {
	c := &checker{tree: t}
	for _, p := range t.sorted() {
		ring := ringOf(p.Path)
		if ring == "" {
			c.at(p.Path, "the package is in no ring: give it a line in the table of internal/archtest/table.go")
			continue
		}
		for _, i := range p.Imports() {
			c.arrow(p.Path, ring, i)
			c.library(p.Path, ring, i)
		}
		if ring == Pure || ring == Words {
			c.purity(p, ring)
		}
		c.shape(p)
	}
	c.reach()
	slices.SortFunc(c.found, func(a, b Violation) int {
		return cmp.Or(comparePlaces(a.Place, b.Place), strings.Compare(a.Text, b.Text))
	})
	return slices.Compact(c.found)
}

// comparePlaces sorts by file and then by line as a number.
func comparePlaces(a, b string) int {
	fileA, lineA, _ := strings.Cut(a, ":")
	fileB, lineB, _ := strings.Cut(b, ":")
	if fileA != fileB {
		return strings.Compare(fileA, fileB)
	}
	return cmp.Or(len(lineA)-len(lineB), strings.Compare(lineA, lineB))
}

type checker struct {
	tree  *Tree
	found []Violation
}

func (c *checker) at(place, format string, args ...any) {
	c.found = append(c.found, Violation{place, fmt.Sprintf(format, args...)})
}

func (c *checker) pos(pos token.Pos, format string, args ...any) {
	p := c.tree.fset.Position(pos)
	c.at(fmt.Sprintf("%s:%d", p.Filename, p.Line), format, args...)
}

// arrow checks one import of a package of Weir.
func (c *checker) arrow(from string, ring Ring, i Import) {
	to := i.Own
	if to == "" || to == everywhere || ringOf(to) == "" {
		return // an unknown package is reported where it stands
	}
	if user, restricted := only[to]; restricted && from != user {
		c.pos(i.Pos, "%s imports %s, which is for %s alone", from, to, user)
		return
	}
	target := ringOf(to)
	if !allowed(from, ring, to, target) {
		c.pos(i.Pos, "%s (%s) imports %s (%s): %s", from, ring, to, target, mayImport[ring])
	}
}

// mayImport says the rule of each ring; allowed is the same as code.
var mayImport = map[Ring]string{
	Words:   "words import words",
	Pure:    "pure packages import words, and pure packages of their own wing",
	Edge:    "edges import words, pure and support packages, never another edge; internal/cli puts them together",
	Support: "support packages import words and one another",
	Test:    "test packages import anything but what wires",
	Wire:    "what wires imports anything but tests",
}

func allowed(from string, ring Ring, to string, target Ring) bool {
	switch ring {
	case Words:
		return target == Words
	case Pure:
		return target == Words || target == Pure && (wing(from) == wing(to) || listed(across[from], to))
	case Edge:
		own := strings.HasPrefix(to, from+"/")
		return target == Words || target == Pure || target == Support || target == Edge && own
	case Support:
		return target == Words || target == Support
	case Test:
		return target != Wire
	case Wire:
		return target != Test
	}
	return false
}

// library checks one import of a package of somebody else.
func (c *checker) library(from string, ring Ring, i Import) {
	if i.Own != "" || standard(i.Path) {
		return
	}
	if (ring == Words || ring == Pure) && !under(pureLibraries, i.Path) {
		c.pos(i.Pos, "a %s package imports %s: only %s may be imported here", ring, i.Path, pureLibraries)
		return
	}
	for _, l := range libraries {
		if !under(l.library, i.Path) {
			continue
		}
		if !listed(l.packages, from) {
			c.pos(i.Pos, "%s imports %s, which stands behind %s", from, i.Path, orNobody(l.packages))
		}
		return
	}
}

func orNobody(packages string) string {
	if packages == "" {
		return "no folder: its predecessor does"
	}
	return strings.ReplaceAll(packages, " ", " and ")
}

func under(prefix, p string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }

// shape checks what each package has to have.
func (c *checker) shape(p *Package) {
	documented := false
	lines := 0
	for _, f := range p.Files {
		documented = documented || f.AST.Doc != nil && strings.TrimSpace(f.AST.Doc.Text()) != ""
		lines += f.Lines
		if f.Lines > maxFile {
			c.at(f.Name, "%d lines: a file has at most %d", f.Lines, maxFile)
		}
	}
	if !documented {
		c.at(p.Path, "no package comment: say what it is for, what it never does, and show an example")
	}
	if p.Path == "cmd/weir" && lines > maxMain {
		c.at(p.Path, "%d lines: a main has at most %d, the rest belongs to internal/cli", lines, maxMain)
	}
}

// reach checks what packages come to over more than one step.
func (c *checker) reach() {
	for pkg, why := range lean {
		c.closure(pkg, pkg, why, map[string]bool{})
	}
	for pkg, why := range alone {
		p := c.tree.Packages[pkg]
		if p == nil {
			continue
		}
		for _, i := range p.Imports() {
			if i.Own != "" {
				c.pos(i.Pos, "%s imports %s: it imports nothing of Weir, because %s", pkg, i.Own, why)
			}
		}
	}
}

// closure walks from a lean package over packages of Weir and reports where it leaves the standard library and words.
func (c *checker) closure(start, at, why string, seen map[string]bool) {
	p := c.tree.Packages[at]
	if p == nil || seen[at] {
		return
	}
	seen[at] = true
	for _, i := range p.Imports() {
		switch {
		case standard(i.Path):
		case i.Own != "" && ringOf(i.Own) == Words:
			c.closure(start, i.Own, why, seen)
		default:
			c.pos(i.Pos, "%s reaches %s: it holds to the standard library and words, because %s", start, path.Clean(i.Path), why)
		}
	}
}
