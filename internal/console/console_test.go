package console

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestATablesNumbersAreAlignedRightAndItsWordsLeft(t *testing.T) {
	var b bytes.Buffer
	err := Table(&b, []string{"CARRIER", "ROWS", "RATE", "NOTE"}, [][]string{
		{"AA", "1,200", "9.5", ""},
		{"Zürich-Süd", "7", "10.25", "late"},
		{"京", "-3", "50%", "x"},
	})
	want := "CARRIER      ROWS   RATE  NOTE\n" +
		"AA          1,200    9.5\n" +
		"Zürich-Süd      7  10.25  late\n" +
		"京             -3    50%  x\n"
	if err != nil || b.String() != want {
		t.Errorf("%v\ngot\n%s\nwant\n%s", err, b.String(), want)
	}
}

func TestAColumnWithOneWordOrOneEmptyCellIsNoColumnOfNumbers(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, []string{"AAAA", "BBBB", "C"}, [][]string{{"1", "", "x"}, {"n/a", "2", "y"}}); err != nil {
		t.Fatal(err)
	}
	if want := "AAAA  BBBB  C\n1           x\nn/a   2     y\n"; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestARowMayBeShorterThanTheHeader(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, []string{"A", "B"}, [][]string{{"x"}, {"y", "word"}}); err != nil {
		t.Fatal(err)
	}
	if want := "A  B\nx\ny  word\n"; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestATableWithoutRowsIsItsHeader(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, []string{"A", "B"}, nil); err != nil || b.String() != "A  B\n" {
		t.Errorf("%v, %q", err, b.String())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the pipe is closed") }

func TestATableThatCannotBeWrittenSaysSo(t *testing.T) {
	if err := Table(broken{}, []string{"A"}, nil); err == nil || err.Error() != "write table: the pipe is closed" {
		t.Errorf("got %v", err)
	}
}

// clocked is progress that is not on a terminal, at a time that the test moves.
func clocked() (*Progress, *bytes.Buffer, *time.Time) {
	var b bytes.Buffer
	p := NewProgress(&b)
	now := p.start
	p.now = func() time.Time { return now }
	return p, &b, &now
}

func TestElsewhereThanOnATerminalProgressIsALineAChange(t *testing.T) {
	p, b, now := clocked()
	p.Show([]Line{{Key: "events", Text: "starting", Note: "1 s", Done: 1, Total: 4}})
	*now = now.Add(1500 * time.Millisecond)
	p.Show([]Line{{Key: "events", Text: "starting", Note: "2 s", Done: 2, Total: 4}}) // notes and bars are no change
	p.Show([]Line{{Key: "events", Text: "ready", Ended: true}, {Key: "workers", Text: "starting"}})
	p.Show([]Line{{Key: "events", Text: "ready", Ended: true}, {Key: "workers", Text: "starting"}})
	p.Close()
	want := "   0.0s  · events     starting\n   1.5s  ✓ events     ready\n   1.5s  · workers    starting\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestLinesOfOneKeyAreToldApartByTheirIDs(t *testing.T) {
	p, b, _ := clocked()
	both := []Line{{Key: "jars", ID: "kafka", Text: "kafka 4.3"}, {Key: "jars", ID: "cassandra", Text: "cassandra 5.0"}}
	p.Show(both)
	p.Show(both)
	if got := strings.Count(b.String(), "\n"); got != 2 {
		t.Errorf("%d lines were printed, want 2:\n%s", got, b.String())
	}
}

func TestOnATerminalThePictureIsRedrawnInItsPlace(t *testing.T) {
	p, b, _ := clocked()
	p.live = true
	p.Show([]Line{{Key: "a", Text: "x", Done: 1, Total: 2, Note: "n"}, {Key: "b", Text: "y"}})
	p.Show([]Line{{Key: "b", Text: "y", Ended: true}}) // one line fewer: the rest is wiped, and the cursor stands below the last
	p.Close()
	p.Show([]Line{{Key: "c", Text: "z"}}) // below what was left standing
	want := "\x1b[2K· a          x  [████████████░░░░░░░░░░░░]  50%  n\n\x1b[2K· b          y\n" +
		"\x1b[2A\x1b[2K✓ b          y\n\x1b[2K\n\x1b[1A" +
		"\x1b[2K· c          z\n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
}

func TestWhatElseIsWrittenStandsAboveThePicture(t *testing.T) {
	p, b, _ := clocked()
	p.live = true
	p.Clear() // nothing is shown yet
	p.Show([]Line{{Key: "a", Text: "x"}, {Key: "b", Text: "y"}})
	p.Clear()
	b.WriteString("a row\n")
	p.Show([]Line{{Key: "a", Text: "x"}})
	want := "\x1b[2K· a          x\n\x1b[2K· b          y\n" + "\x1b[2A\x1b[J" + "a row\n" + "\x1b[2K· a          x\n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
}

func TestALineThatIsTooWideIsClippedByCells(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöüß", 3, "äö…"}, {"äöü", 3, "äöü"}, {"", 3, ""},
		{"京都駅", 6, "京都駅"}, {"京都駅", 5, "京都…"}, {"京都駅", 4, "京…"}, {"e\u0301e\u0301", 2, "e\u0301e\u0301"},
	} {
		if got := clip(c.text, c.width); got != c.want {
			t.Errorf("clip(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestABarStaysWithinItsBounds(t *testing.T) {
	for _, c := range []struct {
		done, total int64
		want        string
	}{
		{0, 10, "[░░░░]   0%"}, {5, 10, "[██░░]  50%"}, {10, 10, "[████] 100%"}, {11, 10, "[████] 100%"}, {-1, 10, "[░░░░]   0%"},
		{9, 10, "[███░]  90%"}, {1 << 50, 1 << 51, "[██░░]  50%"},
	} {
		if got := bar(c.done, c.total, 4); got != c.want {
			t.Errorf("bar(%d, %d) = %s, want %s", c.done, c.total, got, c.want)
		}
	}
}

func TestALineWithoutATotalOrThatEndedHasNoBar(t *testing.T) {
	for _, l := range []Line{{Key: "a", Done: 1}, {Key: "a", Done: 1, Total: 2, Ended: true}} {
		if got := render(l, true); strings.Contains(got, "[") {
			t.Errorf("%+v is shown as %q", l, got)
		}
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if NewProgress(f).live {
		t.Error("a file is redrawn in place")
	}
}
