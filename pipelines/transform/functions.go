package transform

import (
	"slices"
	"strings"

	"github.com/weir-project/weir/pipelines/column"
)

// functions are the aggregates of Combine, with what they say of a value's kind.
var functions = map[string]func(value column.Kind) (result column.Kind, ok bool){
	// Beam's Python count counts elements and not the values that are present, so its value may be of any kind, null too.
	"count": func(column.Kind) (column.Kind, bool) { return column.Int64, true },
	"sum": func(k column.Kind) (column.Kind, bool) {
		return k, k == column.Int64 || k == column.Float64
	},
	"min": ordered,
	"max": ordered,
	"mean": func(k column.Kind) (column.Kind, bool) {
		return column.Float64, k == column.Int64 || k == column.Float64
	},
	"any": func(k column.Kind) (column.Kind, bool) { return column.Bool, k == column.Bool },
	"all": func(k column.Kind) (column.Kind, bool) { return column.Bool, k == column.Bool },
}

// ordered are the kinds whose least and greatest value the state of a combine can keep: those of a fixed size (pipelines/state).
func ordered(k column.Kind) (column.Kind, bool) {
	return k, k == column.Int64 || k == column.Float64 || k == column.Timestamp
}

// Instead says what to write where fn does not take values of a kind.
func Instead(fn string, value column.Kind) string {
	switch {
	case (fn == "min" || fn == "max") && value == column.Bool:
		return map[string]string{"min": "`fn: all` is the least of booleans", "max": "`fn: any` is the greatest of booleans"}[fn]
	case fn == "min" || fn == "max":
		return "combine an integer, a number or a timestamp, or group by the value"
	case fn == "any" || fn == "all":
		return "write a condition as the value, such as `value: delay > 15`"
	}
	return "combine an integer or a number, or count"
}

// Functions lists the aggregates in alphabetical order.
func Functions() []string {
	out := make([]string, 0, len(functions))
	for name := range functions {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// FunctionList is Functions as a sentence's part.
func FunctionList() string { return strings.Join(Functions(), ", ") }

// Aggregate returns the kind of fn over values of a kind. known is false for a function that does not exist, ok for one that
// cannot take such values.
func Aggregate(fn string, value column.Kind) (result column.Kind, known, ok bool) {
	f, known := functions[fn]
	if !known {
		return column.Invalid, false, false
	}
	result, ok = f(value)
	return result, true, ok
}
