package dsl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/weir-project/weir/internal/fault"
)

// The limits of a document. They are checked before anything is made of it, so that no file can hold a server up.
const (
	MaxSource = 1 << 20 // bytes
	MaxDepth  = 64      // nested mappings and lists
	MaxNodes  = 100_000 // values after aliases are followed
)

// reader gathers mistakes, so that a user sees all of them at once.
type reader struct {
	text  *Text
	errs  fault.List
	nodes int
	open  map[*yaml.Node]bool // anchors that are being followed: an alias inside its own anchor never ends
}

func newReader(file string, src []byte) *reader {
	return &reader{text: NewText(file, src), open: map[*yaml.Node]bool{}}
}

func (r *reader) bad(p fault.Pos, code, op, subject, cause, hint string) {
	r.errs.Add(r.text.Fault(p, code, op, subject, cause, hint))
}

var yamlLine = regexp.MustCompile(`line (\d+): ?`)

// parse reads the only document of a source.
func (r *reader) parse(src []byte) (v *Value, err error) {
	if len(src) > MaxSource {
		return nil, fault.Invalid("E-SIZE", "read", r.text.File, fault.Causef("%d bytes, at most %d are read", len(src), MaxSource),
			fault.Hint("split the pipeline into several files"))
	}
	if !utf8.Valid(src) {
		return nil, fault.Invalid("E-YAML", "read", r.text.File, fault.Causef("it is not UTF-8"), fault.Hint("save it as UTF-8"))
	}
	if err := r.jinja(); err != nil {
		return nil, err
	}
	node, err := r.document(src)
	if err != nil {
		return nil, err
	}
	v = r.value(node, 0)
	return v, r.errs.Err()
}

// document finds the one document. The YAML library reports a syntax error as text with a line.
func (r *reader) document(src []byte) (_ *yaml.Node, err error) {
	defer func() {
		// The library has panicked on malformed input in the past, and a pipeline comes from outside.
		if p := recover(); p != nil {
			err = r.text.Fault(fault.Pos{File: r.text.File, Line: 1, Col: 1}, "E-YAML", "read", "YAML", fmt.Sprintf("the parser gave up: %v", p), "simplify the document")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, r.syntax(src, err)
	}
	if err := dec.Decode(new(yaml.Node)); err == nil {
		return nil, r.text.Fault(fault.Pos{File: r.text.File, Line: 1, Col: 1}, "E-YAML", "read", "YAML", "the file holds more than one document", "keep one pipeline in a file")
	} else if !errors.Is(err, io.EOF) {
		return nil, r.syntax(src, err)
	}
	if len(doc.Content) != 1 {
		return nil, r.syntax(src, io.EOF)
	}
	return doc.Content[0], nil
}

// Syntax is the fault for an error of the YAML library: at the line that cannot go on, with its text. Stacks are read by it too.
func Syntax(file string, src []byte, err error) error { return newReader(file, src).syntax(src, err) }

func (r *reader) syntax(src []byte, err error) error {
	if errors.Is(err, io.EOF) {
		return fault.Invalid("E-YAML", "read", "YAML", fault.At(r.text.File, 1, 1), fault.Causef("the file is empty"), fault.Hint("begin with `pipeline:`, or with `kind: Pipeline`"))
	}
	line := r.lastGood(src) + 1
	cause := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(cause); m != nil {
		if n, aerr := strconv.Atoi(m[1]); aerr == nil && n > 0 && line == 1 {
			line = n
		}
		cause = strings.Replace(cause, m[0], "", 1)
	}
	text := r.text.Line(line)
	col := 1 + len(text) - len(strings.TrimLeft(text, " \t"))
	return r.text.Fault(fault.Pos{File: r.text.File, Line: line, Col: col}, "E-YAML", "read", "YAML", cause, "look at the indentation and the quotes of this line and the one above")
}

// maxReparse bounds, in bytes, what lastGood parses again.
const maxReparse = 1 << 20

// lastGood counts the lines of the longest beginning that parses: the mistake is on the next one. The library names the line where
// the block began, which may be far above. It is 0 where none is found within the bound, since each beginning is parsed anew.
func (r *reader) lastGood(src []byte) int {
	end, work := len(src), 0
	for n := len(r.text.lines) - 1; n > 0; n-- {
		end = bytes.LastIndexByte(src[:end], '\n')
		// A short beginning costs something too.
		if work += end + 1024; end < 0 || work > maxReparse {
			return 0
		}
		if yaml.Unmarshal(src[:end], new(yaml.Node)) == nil {
			return n
		}
	}
	return 0
}

// jinja refuses templates: Beam's launcher renders every file, so one that is read without would mean something else.
func (r *reader) jinja() error {
	for i, line := range r.text.lines {
		code := stripComment(line)
		for _, open := range []string{"{{", "{%"} {
			if at := strings.Index(code, open); at >= 0 {
				p := fault.Pos{File: r.text.File, Line: i + 1, Col: 1 + utf8.RuneCountInString(code[:at])}
				return r.text.Fault(p, "E-NOTYET", "read", "the Jinja template "+open, "templates are not rendered yet", "write the value itself, or render the file before it is applied")
			}
		}
	}
	return nil
}

// stripComment cuts a YAML comment: a # at the line's start or after a blank, outside quotes.
func stripComment(line string) string {
	var quote byte
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			// An apostrophe inside a word opens nothing.
			if i == 0 || strings.IndexByte(" \t[{,:(", line[i-1]) >= 0 {
				quote = c
			}
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return line[:i]
		}
	}
	return line
}

func (r *reader) pos(n *yaml.Node) fault.Pos {
	return fault.Pos{File: r.text.File, Line: n.Line, Col: n.Column}
}

// value converts a node. Each alias is followed anew, which the node limit bounds.
func (r *reader) value(n *yaml.Node, depth int) *Value {
	v := &Value{Pos: r.pos(n)}
	r.nodes++
	switch {
	case r.nodes == MaxNodes+1:
		r.bad(v.Pos, "E-SIZE", "read", "YAML", fmt.Sprintf("more than %d values after following the aliases", MaxNodes), "use fewer aliases, or split the file")
		return v
	case r.nodes > MaxNodes:
		return v
	case depth > MaxDepth:
		r.bad(v.Pos, "E-SIZE", "read", "YAML", fmt.Sprintf("nested deeper than %d", MaxDepth), "use fewer levels")
		r.nodes = MaxNodes + 1 // nothing below is worth a message
		return v
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.alias(n, depth)
	case yaml.SequenceNode:
		v.Kind = List
		for _, item := range n.Content {
			v.Items = append(v.Items, r.value(item, depth+1))
		}
	case yaml.MappingNode:
		v.Kind = Map
		r.mapping(v, n, depth)
	case yaml.ScalarNode:
		r.scalar(v, n)
	}
	return v
}

func (r *reader) alias(n *yaml.Node, depth int) *Value {
	if n.Alias == nil || r.open[n.Alias] {
		r.bad(r.pos(n), "E-YAML", "read", "alias *"+n.Value, "it stands inside what it means", "write the value itself")
		return &Value{Pos: r.pos(n)}
	}
	r.open[n.Alias] = true
	defer delete(r.open, n.Alias)
	return r.value(n.Alias, depth+1)
}

func (r *reader) scalar(v *Value, n *yaml.Node) {
	v.Text, v.Kind = n.Value, String
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		v.style = block
		return
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		v.style = quoted
		return
	case n.Style&yaml.TaggedStyle != 0:
		if n.Tag == "!!str" {
			return
		}
		if n.Tag != "!!int" && n.Tag != "!!float" && n.Tag != "!!bool" && n.Tag != "!!null" {
			r.bad(v.Pos, "E-YAML", "read", "tag "+n.Tag, "tags are not used in pipelines", "remove the tag")
			return
		}
	}
	if err := resolve(v); err != nil {
		r.bad(v.Pos, "E-TYPE", "read", "scalar", err.Error(), "put it in quotes if it is a string")
	}
}

// mapping reads the entries; merged ones (<<) come first in PyYAML and lose against the mapping's own.
func (r *reader) mapping(v *Value, n *yaml.Node, depth int) {
	var merged []Entry
	seen := map[string]fault.Pos{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.Value == "<<" && k.Style == 0 {
			merged = append(merged, r.merge(val, depth)...)
			continue
		}
		key, ok := r.key(k)
		if !ok {
			continue
		}
		if first, twice := seen[key]; twice {
			r.bad(r.pos(k), "E-DUPLICATE", "read", fmt.Sprintf("key %q", key), fmt.Sprintf("it already stands at line %d, column %d", first.Line, first.Col), "keep one of them")
			continue
		}
		seen[key] = r.pos(k)
		v.Entries = append(v.Entries, Entry{Key: key, Pos: r.pos(k), Value: r.value(val, depth+1)})
	}
	v.Entries = append(unseen(merged, seen), v.Entries...)
}

func unseen(merged []Entry, seen map[string]fault.Pos) []Entry {
	var out []Entry
	for _, e := range merged {
		if _, ok := seen[e.Key]; !ok {
			seen[e.Key] = e.Pos
			out = append(out, e)
		}
	}
	return out
}

// key reads a mapping's key: a string to YAML 1.1, else Beam would see another type.
func (r *reader) key(k *yaml.Node) (string, bool) {
	if k.Kind == yaml.AliasNode && k.Alias != nil {
		k = k.Alias
	}
	if k.Kind != yaml.ScalarNode {
		r.bad(r.pos(k), "E-TYPE", "read", "key", "a key must be a name", "write `key: value`")
		return "", false
	}
	v := &Value{Pos: r.pos(k)}
	r.scalar(v, k)
	if v.Kind != String {
		r.bad(v.Pos, "E-TYPE", "read", fmt.Sprintf("key %q", k.Value), fmt.Sprintf("YAML 1.1 reads it as %s", A(v.Kind)), fmt.Sprintf("write %q in quotes", k.Value))
		return "", false
	}
	return v.Text, true
}

func (r *reader) merge(n *yaml.Node, depth int) []Entry {
	v := r.value(n, depth+1)
	sources := []*Value{v}
	if v.Kind == List {
		sources = v.Items
	}
	var out []Entry
	for _, s := range sources {
		if s.Kind != Map {
			r.bad(s.Pos, "E-TYPE", "read", "merge <<", fmt.Sprintf("a mapping is merged, this is %s", A(s.Kind)), "merge an anchor of a mapping: `<<: *name`")
			continue
		}
		out = append(out, s.Entries...) // earlier ones win: unseen keeps the first
	}
	return out
}
