package fault

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

const (
	red   = "\x1b[1;31m"
	bold  = "\x1b[1m"
	cyan  = "\x1b[36m"
	reset = "\x1b[0m"
)

// Render writes err for a person: each fault of a list or a joined error with its source line, caret and hint, and a count
// when there are several. Control characters, which may come from a file that is not the reader's own, are replaced, so that
// no error can drive a terminal. The returned error is the writer's.
func Render(w io.Writer, err error, color bool) error {
	if err == nil {
		return nil
	}
	var list List
	if !isMany(err) {
		return From(err).Render(w, color)
	}
	if !errors.As(err, &list) {
		list.Add(err)
	}
	for _, e := range list {
		if werr := e.Render(w, color); werr != nil {
			return werr
		}
	}
	if len(list) < 2 {
		return nil
	}
	_, werr := fmt.Fprintln(w, Count(len(list), "error"))
	return werr
}

// Render writes the error, its source line with a caret under the column, and its hint, each on its own line.
func (e *Error) Render(w io.Writer, color bool) error {
	f := e.Flat()
	p := painter(color)
	var b strings.Builder
	if pos := f.Pos.String(); pos != "" {
		b.WriteString(p(bold, clean(pos)+": "))
	}
	tag := "error"
	if f.Code != "" {
		tag += "[" + clean(f.Code) + "]"
	}
	b.WriteString(p(red, tag+":") + " " + clean(f.body()) + "\n")
	if f.Source != "" {
		b.WriteString(excerpt(f, p))
	}
	if f.Hint != "" {
		b.WriteString(p(cyan, "hint:") + " " + clean(f.Hint) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// excerpt prints "  12 | text" and, where the column is known, a caret under it. The caret's indent repeats the tabs of the
// source, so that it stands right whatever the width of a tab is.
func excerpt(f *Error, p func(style, text string) string) string {
	source := clean(strings.TrimRight(strings.SplitN(f.Source, "\n", 2)[0], "\r"))
	margin := ""
	if f.Pos.Line > 0 {
		margin = fmt.Sprintf("%d", f.Pos.Line)
	}
	out := fmt.Sprintf("  %s | %s\n", margin, source)
	if f.Pos.Col <= 0 {
		return out
	}
	var indent strings.Builder
	runes := []rune(source)
	for i := 0; i < f.Pos.Col-1 && i < len(runes); i++ {
		if runes[i] == '\t' {
			indent.WriteByte('\t')
		} else {
			indent.WriteByte(' ')
		}
	}
	return out + fmt.Sprintf("  %s | %s%s\n", strings.Repeat(" ", len(margin)), indent.String(), p(red, "^"))
}

func painter(color bool) func(style, text string) string {
	if !color {
		return func(_, text string) string { return text }
	}
	return func(style, text string) string { return style + text + reset }
}

// clean keeps what prints, tabs and line ends, and shows the rest as the replacement character.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !unicode.IsControl(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
