package dsl

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/fault"
)

func parseValue(t *testing.T, src string) (*Value, *Text, error) {
	t.Helper()
	r := newReader("v.yaml", []byte(src))
	v, err := r.parse([]byte(src))
	return v, r.text, err
}

func describe(v *Value) string {
	switch v.Kind {
	case Null, List:
		return v.Kind.String()
	case Bool:
		return fmt.Sprintf("boolean %t", v.Bool)
	case Int:
		return fmt.Sprintf("integer %d", v.Int)
	case Float:
		return "number " + strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%.12g", v.Float), "+"))
	case Date:
		return "date " + v.Time.Format("2006-01-02")
	case Time:
		return "timestamp " + v.Time.Format("2006-01-02T15:04:05.999999Z07:00")
	}
	return "string " + v.Text
}

// TestScalarsAreThoseOfPyYAML compares with a table that PyYAML wrote.
func TestScalarsAreThoseOfPyYAML(t *testing.T) {
	table, err := os.ReadFile("testdata/yaml11.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n") {
		word, want, ok := strings.Cut(line, "\t")
		if !ok {
			continue
		}
		n++
		v, _, err := parseValue(t, "a: "+word+"\n")
		switch {
		case err != nil && want != "error":
			t.Errorf("%s: %v, want %s", word, err, want)
		case err == nil && describe(v.Get("a")) != want:
			t.Errorf("%s: got %s, want %s", word, describe(v.Get("a")), want)
		}
	}
	if n < 80 {
		t.Errorf("the table holds %d scalars only", n)
	}
}

func TestQuotedAndTaggedScalarsAreStrings(t *testing.T) {
	v, _, err := parseValue(t, "a: \"1\"\nb: 'yes'\nc: !!str 12\nd: |\n  on\ne: !!int 010\n")
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, e := range v.Entries {
		got += e.Key + " " + describe(e.Value) + ";"
	}
	if want := "a string 1;b string yes;c string 12;d string on\n;e integer 8;"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMergesAndAliases(t *testing.T) {
	v, _, err := parseValue(t, "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\none: {<<: *b, y: 9}\ntwo: {<<: [*b, *m]}\nsame: *b\n")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int64{"one.x": 1, "one.y": 9, "two.x": 1, "two.y": 2, "two.z": 4, "same.y": 2} {
		outer, inner, _ := strings.Cut(path, ".")
		if got := v.Get(outer).Get(inner); got == nil || got.Int != want {
			t.Errorf("%s: got %+v, want %d", path, got, want)
		}
	}
	if len(v.Get("one").Entries) != 2 || len(v.Get("two").Entries) != 3 {
		t.Errorf("merged keys stand there twice: %v, %v", v.Get("one").Keys(), v.Get("two").Keys())
	}
}

// TestNoDocumentHoldsTheReaderUp: what would grow without bound is refused before it does.
func TestNoDocumentHoldsTheReaderUp(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	cases := map[string]struct{ src, want string }{
		"alias bomb":      {bomb, "more than 100000 values"},
		"deep":            {strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested deeper than 64"},
		"very deep":       {strings.Repeat("[", 200_000), "E-YAML"},
		"large":           {"a: " + strings.Repeat("x", MaxSource), "at most 1048576 are read"},
		"not UTF-8":       {"a: \xff", "not UTF-8"},
		"recursive":       {"a: &a [*a]", "inside what it means"},
		"recursive merge": {"a: &a {<<: *a}", "inside what it means"},
		"unknown anchor":  {"a: *b", "unknown anchor"},
		"key is a list":   {"[a]: 1", "a key must be a name"},
		"foreign tag":     {"a: !!python/object 1", "tags are not used"},
	}
	for name, c := range cases {
		start := time.Now()
		_, err := Parse("x.yaml", []byte(c.src))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %.200v, want %q", name, err, c.want)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s took %s", name, d)
		}
	}
}

func TestDurations(t *testing.T) {
	for src, want := range map[string]time.Duration{
		"5": 5 * time.Second, "5s": 5 * time.Second, "1.5s": 1500 * time.Millisecond, "10ms": 10 * time.Millisecond, "2m": 2 * time.Minute,
		"3h": 3 * time.Hour, "1d": 24 * time.Hour, "'7'": 7 * time.Second, "1:30": 90 * time.Second, "010": 8 * time.Second, "0": 0, "1 h": time.Hour, "0.25": 250 * time.Millisecond,
	} {
		v, _, err := parseValue(t, "a: "+src)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseDuration(v.Get("a")); err != nil || got != want {
			t.Errorf("%s: got %v %v, want %v", src, got, err, want)
		}
	}
	for _, src := range []string{"-5", "5 hours", "h", "''", "yes x", "1e3", "[1]", "100000d", "0.0000001"} {
		v, _, err := parseValue(t, "a: "+src)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseDuration(v.Get("a")); err == nil {
			t.Errorf("%s: accepted as %v", src, got)
		}
	}
}

// TestPlacesInsideScalars: the caret of an expression's mistake stands under its byte.
func TestPlacesInsideScalars(t *testing.T) {
	src := "plain: abc def\nquoted: 'é abc def'\nanchored: &x abc def\nliteral: |\n    abc\n    x def\nfolded: >\n  abc\n  def\nescaped: \"a\\tdef\"\n"
	v, text, err := parseValue(t, src)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"plain": "v.yaml:1:12", "quoted": "v.yaml:2:16", "anchored": "v.yaml:3:18", "literal": "v.yaml:6:7", "escaped": "v.yaml:10:10", "folded": "v.yaml:7:9"} {
		s := v.Get(key)
		if got := text.At(s, strings.Index(s.Text, "def")).String(); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
	s := v.Get("plain")
	if text.At(s, 99) != s.Pos || text.At(s, -1) != s.Pos {
		t.Error("an offset outside the text has a place of its own")
	}
}

func TestCommentsEndTemplates(t *testing.T) {
	for line, want := range map[string]string{
		"a: b # {{": "a: b ", "a: 'x # {{'": "a: 'x # {{'", "a: b#c": "a: b#c", "# {{": "", `a: "\" # {{"`: `a: "\" # {{"`, "it's # x": "it's ",
	} {
		if got := stripComment(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestNamesOfPlainFiles(t *testing.T) {
	for file, want := range map[string]string{"worst.yaml": "worst", "a/b/My Flights.v2.yaml": "my-flights", "9.yaml": "pipeline", "7up.yaml": "up", "": "pipeline",
		strings.Repeat("x", 60) + ".yaml": strings.Repeat("x", 40)} {
		if got := fileName(file); got != want {
			t.Errorf("%q: got %q, want %q", file, got, want)
		}
	}
}

// wiring shows the tree with its names resolved.
func wiring(d *Document) string {
	var b strings.Builder
	for _, x := range d.Stages[0].Transforms {
		fmt.Fprintf(&b, "%s", x.Path)
		for i, in := range x.Inputs {
			fmt.Fprintf(&b, "%s%s", map[bool]string{true: " <- ", false: ", "}[i == 0], in.From.Path)
		}
		if x.Windowing != nil {
			fmt.Fprintf(&b, " [%s]", x.Windowing.Get("type").Text)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestNamesMeanTransforms(t *testing.T) {
	doc, err := Parse("w.yaml", []byte(`
pipeline:
  windowing: {type: fixed, size: 60}
  transforms:
    - {type: Create, name: My Numbers, config: {elements: [1]}}
    - {type: Create, name: Other, config: {elements: [2]}, windowing: {type: global}}
    - type: chain
      name: Work
      input: [My Numbers, Other]
      transforms:
        - {type: Filter, config: {keep: element > 1}}
        - {type: Filter, config: {keep: element > 2}}
    - type: composite
      name: Two
      input: Work
      windowing: {type: sessions, gap: 1}
      transforms:
        - {type: Filter, name: A, input: input, config: {keep: element > 3}}
        - {type: Filter, name: B, input: A, config: {keep: element > 4}}
      output: {small: A, big: B}
    - {type: LogForTesting, input: Two.big}
    - {type: LogForTesting, name: Last, input: {input: Two.small}}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := `My Numbers [fixed]
Other [global]
Work/Inputs <- My Numbers, Other
Work/Filter#1 <- Work/Inputs
Work/Filter#2 <- Work/Filter#1
Two/A <- Work/Filter#2 [sessions]
Two/B <- Two/A
LogForTesting <- Two/B
Last <- Two/A
`
	if got := wiring(doc); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEveryMistakeIsInvalidInput(t *testing.T) {
	_, err := Parse("x.yaml", []byte("pipeline: {type: chain, transforms: [{type: Nope}, {type: Nope}]}"))
	var list fault.List
	if !errors.As(err, &list) || len(list) != 2 || fault.ExitCode(err) != fault.ExitInvalid {
		t.Errorf("got %v", err)
	}
	for _, e := range list {
		if e.Pos.Line != 1 || e.Pos.Col == 0 || e.Hint == "" || e.Source == "" {
			t.Errorf("incomplete: %+v", e)
		}
	}
}

// FuzzParse: no input makes the reader panic, and whoever refuses says where.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"pipeline: {type: chain, transforms: [{type: Create, config: {elements: [1]}}, {type: LogForTesting}]}\nweir: {LogForTesting: {limit: 1}}",
		"apiVersion: weir.dev/v1\nkind: Pipeline\nmetadata: {name: p}\nspec: {channels: {a: {kafka: {service: s}}}, stages: {m: {after: [x], workers: 2, pipeline: []}}}",
		"a: &a [*a]", "pipeline: {source: {type: ReadFromText}, sink: 1, extra_transforms: x}", "- a\n- b", "? [x]\n: y", "pipeline:\n  <<: {transforms: 3}", "a: 1:30\nb: 2024-01-01", "\t", "%YAML 1.1\n---\na: b\n...\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		doc, err := Parse("f.yaml", src)
		if (doc == nil) == (err == nil) {
			t.Fatalf("document %v with error %v", doc, err)
		}
		if err != nil && fault.ExitCode(err) != fault.ExitInvalid {
			t.Errorf("exit code %d for %v", fault.ExitCode(err), err)
		}
	})
}

func TestNumbersAtTheEdge(t *testing.T) {
	for src, want := range map[string]float64{".inf": math.Inf(1), "-.inf": math.Inf(-1), "1:30.5": 90.5, "-1:30.5": -90.5} {
		v, _, err := parseValue(t, "a: "+src)
		if err != nil || v.Get("a").Float != want {
			t.Errorf("%s: got %v %v", src, v, err)
		}
	}
	for _, src := range []string{"99999999999999999999", "1e400x", "2024-02-30", "2024-01-01T25:00:00", "0xfffffffffffffffff", "999999999999:59:59:59:59:59:59"} {
		if v, _, err := parseValue(t, "a: "+src); err == nil && v.Get("a").Kind != String {
			t.Errorf("%s: accepted as %s", src, describe(v.Get("a")))
		}
	}
}
