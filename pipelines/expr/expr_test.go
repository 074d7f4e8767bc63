package expr

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/weir-project/weir/pipelines/column"
)

var flightSchema = column.Schema{Fields: []column.Field{
	{Name: "origin", Kind: column.String},
	{Name: "delay", Kind: column.Int64, Nullable: true},
	{Name: "flights", Kind: column.Int64},
	{Name: "rate", Kind: column.Float64},
	{Name: "late", Kind: column.Bool},
	{Name: "at", Kind: column.Timestamp},
	{Name: "raw", Kind: column.Bytes},
}}

// flights are four rows; the third has no delay.
func flights() *column.Batch {
	b := column.NewBatch(&flightSchema, 4)
	for i, origin := range []string{"ORD", "LAX", " Zürich ", ""} {
		b.Cols[0].AppendString([]byte(origin))
		if i == 2 {
			b.Cols[1].AppendNull()
		} else {
			b.Cols[1].AppendInt(int64(i*50 - 10)) // -10, 40, null, 140
		}
		b.Cols[2].AppendInt(int64(i)) // 0 … 3
		b.Cols[3].AppendFloat(float64(i) + 0.5)
		b.Cols[4].AppendBool(i%2 == 1)
		b.Cols[5].AppendInt(int64(i) * 1_000_000)
		b.Cols[6].AppendString([]byte{byte(i)})
		b.AppendTime(0)
		b.N++
	}
	return b
}

func show(c *column.Column, i int) string {
	if c.IsNull(i) {
		return "None"
	}
	switch c.Kind {
	case column.Bool:
		return map[bool]string{true: "True", false: "False"}[c.Bools[i]]
	case column.Float64:
		return formatFloat(c.Floats[i])
	case column.Int64, column.Timestamp:
		return fmt.Sprint(c.Ints[i])
	}
	return fmt.Sprintf("%q", c.At(i))
}

func evalAll(t *testing.T, src, language string, b *column.Batch) string {
	t.Helper()
	p, err := Compile(src, language, *b.Schema)
	if err != nil {
		return err.Error()
	}
	var out column.Column
	if err := p.Eval(b, &out); err != nil {
		return err.Error()
	}
	var vs []string
	b.Rows(func(i int) { vs = append(vs, show(&out, i)) })
	return p.Kind().String() + " " + strings.Join(vs, " ")
}

func TestExpressionsGivePythonsValues(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"delay + 1", "integer -9 41 None 141"},
		{"flights / 2", "number 0.0 0.5 1.0 1.5"},
		{"delay // 7", "integer -2 5 None 20"},
		{"delay % 7", "integer 4 5 None 0"},
		{"-7.5 // 2 + rate % 2", "number -3.5 -2.5 -3.5 -2.5"},
		{"2 ** flights", "integer 1 2 4 8"},
		{"-2 ** 2", "integer -4 -4 -4 -4"},
		{"2 ** -1", "number 0.5 0.5 0.5 0.5"},
		{"delay * 1.0 / flights if flights > 0 else None", "number None 40.0 None 46.666666666666664"},
		{"flights != 0 and 10 / flights > 4", "boolean False True True False"},
		{"0 < flights <= 2", "boolean False True True False"},
		{"delay is None or delay > 100", "boolean False False True True"},
		{"delay == None", "boolean False False True False"},
		{"not late", "boolean True False True False"},
		{"delay > 0 and late", "boolean False True False True"},
		{"delay > 0 and flights > 0", "boolean False True None True"},
		{"delay > 0 or not late", "boolean True True True True"},
		{"origin in ('ORD', \"LAX\")", "boolean True True False False"},
		{"'R' in origin", "boolean True False False False"},
		{"origin.strip().upper() + '!'", `string "ORD!" "LAX!" "ZÜRICH!" "!"`},
		{"len(origin)", "integer 3 3 8 0"},
		{"origin.startswith('L')", "boolean False True False False"},
		{"round(rate)", "integer 0 2 2 4"},
		{"round(2.675, 2)", "number 2.67 2.67 2.67 2.67"},
		{"round(flights * 5, -1)", "integer 0 0 10 20"},
		{"min(flights, 2, 1.5)", "number 0.0 1.0 1.5 1.5"},
		{"max(delay, 0)", "integer 0 40 None 140"},
		{"str(rate * 1e16)", `string "5000000000000000.0" "1.5e+16" "2.5e+16" "3.5e+16"`},
		{"int(' -1_000 ') + int(rate) + int(late)", "integer -1000 -998 -998 -996"},
		{"float('1e999')", "number inf inf inf inf"},
		{"at", "timestamp 0 1000000 2000000 3000000"},
		{"origin", `string "ORD" "LAX" " Zürich " ""`},
		{"9007199254740993 > rate * 9007199254740992.0 / rate", "boolean True True True True"},
		{"-9223372036854775808", "integer -9223372036854775808 -9223372036854775808 -9223372036854775808 -9223372036854775808"},
		{"flights + 9223372036854775805", `evaluate expression "flights + 9223372036854775805": row 3: 3 + 9223372036854775805 does not fit 64 bits`},
		{"1 / flights", `evaluate expression "1 / flights": row 0: 1 / 0: division by zero`},
		{"int(origin)", `evaluate expression "int(origin)": row 0: int("ORD"): no 64-bit integer`},
		{"flihts + 1", `compile expression: offset 0: unknown field "flihts"; did you mean flights?`},
		{"delay + origin", "compile expression: offset 6: + of types integer and string; convert with int(), float() or str()"},
		{"delay and late", "compile expression: offset 0: and needs a boolean, not a value of type integer; write x != 0"},
		{"delay = 3", "compile expression: offset 6: expected an operator or the end, found '='; compare with =="},
		{"[x for x in y]", "compile expression: offset 3: expected ']', found 'for'; for is not in the compiled subset of Python"},
		{"origin.title()", `compile expression: offset 6: unknown method "title" of a string; there are: endswith, lower, lstrip, rstrip, startswith, strip, upper`},
		{"", "compile expression: offset 0: expected a value, found the end"},
	} {
		if got := evalAll(t, c.src, "python", flights()); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.src, got, c.want)
		}
	}
}

func TestGenericTakesAtomsAndOneComparison(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"origin", `string "ORD" "LAX" " Zürich " ""`},
		{" delay > 30 ", "boolean False True None True"},
		{"delay<=-10", "boolean True False None False"},
		{`"ORD" == origin`, "boolean True False False False"},
		{"rate != 1.5", "boolean True False True True"},
		{"-3.", "number -3.0 -3.0 -3.0 -3.0"},
		{"delay + 1", `compile expression: offset 6: generic expression goes on with "+ 1"; set language: python for more than one comparison of two values`},
		{"dely", `compile expression: offset 0: unknown field "dely"; did you mean delay?`},
		{"delay > origin", "compile expression: offset 6: comparison of types integer and string; convert one of them with str(), int() or float()"},
	} {
		if got := evalAll(t, c.src, "generic", flights()); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.src, got, c.want)
		}
	}
}

func TestOnlySelectedRowsAreEvaluated(t *testing.T) {
	b := flights()
	b.Sel = []int32{1, 3}
	if got := evalAll(t, "6 / flights", "python", b); got != "number 6.0 2.0" {
		t.Errorf("rows 1 and 3: %s", got)
	}
	p, err := Compile("delay > 30", "generic", flightSchema)
	if err != nil {
		t.Fatal(err)
	}
	b.Sel = []int32{0, 1, 2}
	rows, err := p.Filter(b, []int32{9})
	if err != nil || fmt.Sprint(rows) != "[9 1]" {
		t.Errorf("filter: %v, %v", rows, err)
	}
	if !p.Nullable() || fmt.Sprint(p.Fields()) != "[delay]" {
		t.Errorf("nullable %v, fields %v", p.Nullable(), p.Fields())
	}
}

func TestAnEvaluatedFieldBorrowsAndNeverOverwritesTheInput(t *testing.T) {
	b := flights()
	p, err := Compile("origin", "generic", flightSchema)
	if err != nil {
		t.Fatal(err)
	}
	out := column.NewBatch(&column.Schema{Fields: flightSchema.Fields[:1]}, 4)
	if err := p.Eval(b, &out.Cols[0]); err != nil {
		t.Fatal(err)
	}
	out.Cols[0].AppendString([]byte("more"))
	out.Reset()
	out.Cols[0].AppendString([]byte("xxxxxxxx"))
	if got := string(b.Cols[0].At(0)); got != "ORD" {
		t.Errorf("the input's first row became %q", got)
	}
}

func TestCompileErrorsAreOfTypeError(t *testing.T) {
	_, err := Compile("1 +", "python", flightSchema)
	var e *Error
	if !errors.As(err, &e) || e.Offset != 3 {
		t.Fatalf("got %#v", err)
	}
	if _, err = Compile("1", "cobol", flightSchema); err == nil {
		t.Fatal("an unknown language was compiled")
	}
	if _, err = Compile(strings.Repeat("(", 1000)+"1", "python", flightSchema); err == nil || !strings.Contains(err.Error(), "deep") {
		t.Fatalf("deep nesting: %v", err)
	}
}

func benchmarkBatch(n int) *column.Batch {
	b := column.NewBatch(&flightSchema, n)
	for i := 0; i < n; i++ {
		b.Cols[0].AppendString([]byte("ORD"))
		b.Cols[1].AppendInt(int64(i*7919%300 - 50))
		b.Cols[2].AppendInt(int64(i%5 + 1))
		b.Cols[3].AppendFloat(math.Sqrt(float64(i)))
		b.Cols[4].AppendBool(i%2 == 0)
		b.Cols[5].AppendInt(int64(i))
		b.Cols[6].AppendString(nil)
		b.N++
	}
	return b
}

func BenchmarkFilter(b *testing.B) {
	for _, src := range []string{"delay > 120", "delay > 120 and flights < 3", "origin == 'ORD'"} {
		b.Run(src, func(b *testing.B) {
			batch := benchmarkBatch(1024)
			p, err := Compile(src, "python", flightSchema)
			if err != nil {
				b.Fatal(err)
			}
			var rows []int32
			b.ReportAllocs()
			for b.Loop() {
				if rows, err = p.Filter(batch, rows[:0]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/row")
		})
	}
}

func BenchmarkEval(b *testing.B) {
	for _, src := range []string{"delay + 1", "delay * flights", "rate * 2.0 + 1.0", "delay / flights", "delay if delay > 0 else 0", "origin.lower()"} {
		b.Run(src, func(b *testing.B) {
			batch := benchmarkBatch(1024)
			p, err := Compile(src, "python", flightSchema)
			if err != nil {
				b.Fatal(err)
			}
			var out column.Column
			b.ReportAllocs()
			for b.Loop() {
				if err = p.Eval(batch, &out); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/row")
		})
	}
}
