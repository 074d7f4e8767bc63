// Package console writes for people: progress that redraws itself on a terminal and is a line a change elsewhere, and tables
// that fit. Data goes to stdout, notices and progress to stderr; the caller says which writer is which.
//
// It never decides what is true: it shows the lines that it is given.
//
//	p := console.NewProgress(os.Stderr)
//	p.Show([]console.Line{{Key: "events", Text: "kafka starting", Done: 3, Total: 10}})
//	p.Close()
package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Line is one piece of long work. Bars need a Total; Ended lines get a tick.
type Line struct {
	Key   string // what it is about, shown at the beginning
	ID    string // stays the same while the text changes, where several lines have the same key; else Key
	Text  string
	Note  string // changes often, so it is only shown on a terminal: rates, counts
	Done  int64
	Total int64
	Ended bool
}

// Progress shows lines. It is used by one goroutine.
type Progress struct {
	w     io.Writer
	live  bool
	width int
	drawn int
	said  map[string]string
	start time.Time
	now   func() time.Time
}

// NewProgress shows on w: redrawn in place where w is a terminal.
func NewProgress(w io.Writer) *Progress {
	p := &Progress{w: w, said: map[string]string{}, start: time.Now(), now: time.Now, width: 80}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		p.live = true
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
			p.width = width
		}
	}
	return p
}

// Show replaces what is shown by lines.
func (p *Progress) Show(lines []Line) {
	if !p.live {
		p.say(lines)
		return
	}
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", p.drawn)
	}
	for _, l := range lines {
		fmt.Fprintf(&b, "\x1b[2K%s\n", clip(render(l, true), p.width-1))
	}
	for i := len(lines); i < p.drawn; i++ {
		b.WriteString("\x1b[2K\n")
	}
	if extra := p.drawn - len(lines); extra > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", extra)
	}
	p.drawn = len(lines)
	io.WriteString(p.w, b.String()) //nolint:errcheck // progress that cannot be shown must not stop the work
}

// say prints a line when its text changed, so that a log stays short.
func (p *Progress) say(lines []Line) {
	for _, l := range lines {
		text := render(l, false)
		id := l.ID
		if id == "" {
			id = l.Key
		}
		if p.said[id] == text {
			continue
		}
		p.said[id] = text
		fmt.Fprintf(p.w, "%6.1fs  %s\n", p.now().Sub(p.start).Seconds(), text)
	}
}

// Clear takes the picture away, so that something else can be written to the same terminal; the next Show draws it again below.
func (p *Progress) Clear() {
	if !p.live || p.drawn == 0 {
		return
	}
	fmt.Fprintf(p.w, "\x1b[%dA\x1b[J", p.drawn) // up, and all that is below away
	p.drawn = 0
}

// Close leaves the last picture standing.
func (p *Progress) Close() { p.drawn = 0 }

func render(l Line, live bool) string {
	mark := "·"
	if l.Ended {
		mark = "✓"
	}
	text := fmt.Sprintf("%s %-10s %s", mark, l.Key, l.Text)
	if !live {
		return text
	}
	if l.Total > 0 && !l.Ended {
		text += "  " + bar(l.Done, l.Total, 24)
	}
	if l.Note != "" {
		text += "  " + l.Note
	}
	return text
}

func bar(done, total int64, width int) string {
	done = min(max(done, 0), total)
	full := int(done * int64(width) / total)
	return fmt.Sprintf("[%s%s] %3d%%", strings.Repeat("█", full), strings.Repeat("░", width-full), done*100/total)
}

// clip cuts a text that takes more cells than there are.
func clip(s string, most int) string {
	if width(s) <= most {
		return s
	}
	room := most - 1 // the last one is the ellipsis's
	for i, r := range s {
		if room -= cells(r); room < 0 {
			return s[:i] + "…"
		}
	}
	return s
}
