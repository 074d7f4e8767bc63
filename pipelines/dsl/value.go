package dsl

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-project/weir/internal/fault"
)

// Kind is the type of a Value.
type Kind uint8

// The kinds. Date and Time are YAML 1.1's implicit timestamps.
const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	Date
	Time
	List
	Map
)

var kindNames = [...]string{"null", "boolean", "integer", "number", "string", "date", "timestamp", "list", "mapping"}

func (k Kind) String() string { return kindNames[k] }

// A puts the article before a word: "an integer", "a string".
func A(word fmt.Stringer) string {
	s := word.String()
	if s != "" && strings.IndexByte("aeiou", s[0]) >= 0 {
		return "an " + s
	}
	return "a " + s
}

// Value is a YAML value with its place. Text is a scalar as it was written, without quotes.
type Value struct {
	Kind    Kind
	Pos     fault.Pos
	Text    string
	Bool    bool
	Int     int64
	Float   float64
	Time    time.Time
	Items   []*Value
	Entries []Entry

	style style
}

// Entry is one key of a mapping, in the document's order.
type Entry struct {
	Key   string
	Pos   fault.Pos
	Value *Value
}

// style says how a scalar was written, which decides where its n-th byte stands in the file.
type style uint8

const (
	plain style = iota
	quoted
	block
)

// Get returns the value of a key, or nil; also for a nil value or one that is no mapping.
func (v *Value) Get(key string) *Value {
	if v == nil {
		return nil
	}
	for _, e := range v.Entries {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

// Entry returns the entry of a key.
func (v *Value) Entry(key string) (Entry, bool) {
	if v == nil {
		return Entry{}, false
	}
	for _, e := range v.Entries {
		if e.Key == key {
			return e, true
		}
	}
	return Entry{}, false
}

// Keys lists the keys of a mapping.
func (v *Value) Keys() []string {
	out := make([]string, len(v.Entries))
	for i, e := range v.Entries {
		out[i] = e.Key
	}
	return out
}

// Scalar reports whether the value is a single one.
func (v *Value) Scalar() bool { return v.Kind != List && v.Kind != Map }

// Text holds a file's lines, for carets.
type Text struct {
	File  string
	lines []string
}

// NewText keeps the lines of a source.
func NewText(file string, src []byte) *Text {
	return &Text{File: file, lines: strings.Split(string(src), "\n")}
}

// Line returns the n-th line, counted from 1; empty where there is none.
func (t *Text) Line(n int) string {
	if n < 1 || n > len(t.lines) {
		return ""
	}
	return strings.TrimRight(t.lines[n-1], "\r")
}

// Fault makes the diagnostic of a place: code, what was attempted on what, why not, and what to type.
func (t *Text) Fault(p fault.Pos, code, op, subject, cause, hint string) *fault.Error {
	return fault.Invalid(code, op, subject, fault.AtPos(p), fault.Line(t.Line(p.Line)), fault.Causef("%s", cause), fault.Hint(hint))
}

// At is the place of byte offset of a scalar's text: for an error inside an expression. Where folding hides it, it is the scalar's own.
func (t *Text) At(v *Value, offset int) fault.Pos {
	if offset < 0 || offset > len(v.Text) {
		return v.Pos
	}
	before := v.Text[:offset]
	if v.style == block {
		return t.inBlock(v, before)
	}
	if strings.Contains(v.Text, "\n") {
		return v.Pos
	}
	p := v.Pos
	line := []rune(t.Line(p.Line))
	if p.Col < 1 || p.Col-1 > len(line) {
		return p
	}
	// The node's place may be that of an anchor or a tag before it, or of the opening quote.
	rest := string(line[p.Col-1:])
	at := strings.Index(rest, v.Text)
	if at < 0 {
		return p
	}
	p.Col += utf8.RuneCountInString(rest[:at]) + utf8.RuneCountInString(before)
	return p
}

// inBlock finds a place in a literal block, whose lines begin below the indicator at one indentation.
func (t *Text) inBlock(v *Value, before string) fault.Pos {
	row := strings.Count(before, "\n")
	wanted := strings.Split(v.Text, "\n")[row]
	p := fault.Pos{File: v.Pos.File, Line: v.Pos.Line + 1 + row}
	line := t.Line(p.Line)
	at := strings.Index(line, wanted)
	if at < 0 {
		return v.Pos
	}
	last := before[strings.LastIndexByte(before, '\n')+1:]
	p.Col = 1 + utf8.RuneCountInString(line[:at]) + utf8.RuneCountInString(last)
	return p
}
