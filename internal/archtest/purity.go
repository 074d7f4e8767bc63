package archtest

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
)

// impure are the packages of the standard library that a decision has no use for; those below them count too.
var impure = []struct{ path, instead string }{
	{"net", "the network belongs to an edge"},
	{"os", "files, processes and the environment belong to an edge"},
	{"io/ioutil", "files belong to an edge"},
	{"syscall", "the kernel belongs to an edge"},
	{"log", "return what there is to say; an edge logs it"},
	{"math/rand", "take the seed or the source as an argument"},
	{"crypto/rand", "take the identifier as an argument"},
	{"hash/maphash", "its seed differs from run to run; take another hash"},
	{"C", "what C does cannot be seen from here"},
	{"plugin", "code that is loaded belongs to an edge"},
}

// values are packages below the impure ones that only parse and print.
var values = []string{"net/netip", "net/url", "net/textproto"}

// banned are the functions of packages that are otherwise welcome.
var banned = map[string]map[string]string{
	"time": {
		"Now": "take the time as an argument", "Since": "take the time as an argument", "Until": "take the time as an argument",
		"Sleep": "return when to be called again", "After": "return when to be called again", "AfterFunc": "return when to be called again",
		"Tick": "return when to be called again", "NewTicker": "return when to be called again", "NewTimer": "return when to be called again",
		"Local": "it depends on the machine; use time.UTC", "LoadLocation": "it reads a file; take the location as an argument",
	},
	"context": {
		"WithTimeout": "it reads the clock", "WithDeadline": "it reads the clock", "WithTimeoutCause": "it reads the clock",
		"WithDeadlineCause": "it reads the clock", "AfterFunc": "it starts a goroutine",
	},
	"path/filepath": {
		"Abs": "it asks for the working directory", "Glob": "it reads folders", "Walk": "it reads folders", "WalkDir": "it reads folders",
		"EvalSymlinks": "it reads links",
	},
}

// purity checks what words and pure packages may not touch.
func (c *checker) purity(p *Package, ring Ring) {
	for _, f := range p.Files {
		names := map[string]string{} // what a file calls the packages of banned
		for i, spec := range f.AST.Imports {
			imported := f.Imports()[i].Path
			for _, bad := range impure {
				if under(bad.path, imported) && !slices.Contains(values, imported) {
					c.pos(spec.Pos(), "a %s package imports %s: %s", ring, imported, bad.instead)
				}
			}
			if _, some := banned[imported]; some {
				name := path.Base(imported)
				if spec.Name != nil {
					name = spec.Name.Name
				}
				if name == "." {
					c.pos(spec.Pos(), "a %s package imports %s by dot: its clock could not be seen", ring, imported)
				}
				names[name] = imported
			}
		}
		ast.Inspect(f.AST, func(n ast.Node) bool { return c.impureNode(n, names, ring) })
	}
}

func (c *checker) impureNode(n ast.Node, names map[string]string, ring Ring) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		c.pos(n.Pos(), "a %s package starts a goroutine: the edge that calls it may", ring)
	case *ast.CallExpr:
		// sync.WaitGroup.Go, errgroup's and the like: a method Go that is given a function.
		if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" && len(n.Args) == 1 {
			c.pos(n.Pos(), "a %s package starts a goroutine with %s: the edge that calls it may", ring, s.Sel.Name)
		}
	case *ast.SelectorExpr:
		x, ok := n.X.(*ast.Ident)
		if !ok {
			return true
		}
		imported, ok := names[x.Name]
		if !ok {
			return true
		}
		if instead, bad := banned[imported][n.Sel.Name]; bad {
			c.pos(n.Pos(), "a %s package uses %s.%s: %s", ring, imported, n.Sel.Name, instead)
		}
	case *ast.GenDecl:
		c.linkname(n, ring)
	case *ast.FuncDecl:
		c.linknameDoc(n.Doc, ring)
	}
	return true
}

// linkname reports the back door to functions of other packages.
func (c *checker) linkname(d *ast.GenDecl, ring Ring) {
	if d.Tok != token.IMPORT {
		c.linknameDoc(d.Doc, ring)
	}
}

func (c *checker) linknameDoc(doc *ast.CommentGroup, ring Ring) {
	if doc == nil {
		return
	}
	for _, line := range doc.List {
		if len(line.Text) > 13 && line.Text[:13] == "//go:linkname" {
			c.pos(line.Pos(), "a %s package reaches past an import: %s", ring, strconv.Quote(line.Text))
		}
	}
}
