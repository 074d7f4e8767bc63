package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Tree is the source of a module.
type Tree struct {
	Packages map[string]*Package // by path below the module
	fset     *token.FileSet
}

// Package is one folder with Go code other than tests.
type Package struct {
	Path  string
	Files []File
}

// File is one parsed file.
type File struct {
	Name  string // path in the tree
	Lines int
	AST   *ast.File
}

// Import is one import of a file. Own is the path below the module where it is a package of Weir.
type Import struct {
	Path string
	Own  string
	Pos  token.Pos
}

// Load parses every Go file of a tree but tests, testdata, hidden folders and other modules.
func Load(root fs.FS) (*Tree, error) {
	t := &Tree{Packages: map[string]*Package{}, fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skip(root, name)
		case path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		return t.parse(root, name)
	})
	return t, err
}

func skip(root fs.FS, dir string) error {
	base := path.Base(dir)
	if dir == "." {
		return nil
	}
	if base == "testdata" || base == "bin" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func (t *Tree) parse(root fs.FS, name string) error {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	if bytes.Contains(data, []byte("//go:build ignore\n")) {
		return nil // a generator: no part of its package
	}
	file, err := parser.ParseFile(t.fset, name, data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse %w", err) // the cause begins with the place
	}
	dir := path.Dir(name)
	p := t.Packages[dir]
	if p == nil {
		p = &Package{Path: dir}
		t.Packages[dir] = p
	}
	p.Files = append(p.Files, File{Name: name, Lines: bytes.Count(data, []byte("\n")), AST: file})
	return nil
}

// sorted lists the packages in the order of their paths.
func (t *Tree) sorted() []*Package {
	var out []*Package
	for _, p := range t.Packages {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *Package) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// Imports lists the imports of a file.
func (f File) Imports() []Import {
	var out []Import
	for _, spec := range f.AST.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser accepted it, so it is a string
		}
		out = append(out, Import{Path: p, Own: own(p), Pos: spec.Pos()})
	}
	return out
}

// Imports lists the imports of all files, one entry an import.
func (p *Package) Imports() []Import {
	var out []Import
	for _, f := range p.Files {
		out = append(out, f.Imports()...)
	}
	return out
}

func own(importPath string) string {
	if below, ok := strings.CutPrefix(importPath, Module+"/"); ok {
		return below
	}
	return ""
}

// standard says whether an import is of the standard library: only those have no dot in their first element.
func standard(importPath string) bool {
	return !strings.Contains(wing(importPath), ".")
}
