package graph

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/transform"
)

// combine types an aggregation: out come the keys, then the aggregates.
func (i *infer) combine(w physical.WindowConfig) *Node {
	cfg := physical.CombineConfig{Window: w, GroupBy: []string{}}
	var out column.Schema
	groups, _ := dsl.Names(i.t.Config.Get("group_by")) // its shape was checked
	good := true
	for _, g := range groups {
		f, ok := i.column(g.Name, g.Pos, i.input())
		switch {
		case !ok:
			good = false
			continue
		case slices.Contains(cfg.GroupBy, g.Name):
			i.fail(g.Pos, "E-DUPLICATE", fmt.Sprintf("group_by names %q twice", g.Name), "keep one of them")
			good = false
			continue
		case f.Kind == column.Float64:
			// Beam refuses it too where its coder is not deterministic: NaN and -0 make keys that are not equal to themselves.
			i.fail(g.Pos, "E-KEY", fmt.Sprintf("it groups by %q, which is a number: equal values may be different keys", g.Name), "group by an integer or a string")
			good = false
			continue
		}
		cfg.GroupBy = append(cfg.GroupBy, g.Name)
		out.Fields = append(out.Fields, f)
	}
	combine := i.t.Config.Get("combine")
	for _, e := range combine.Entries {
		a, nullable, ok := i.aggregate(e)
		if !ok {
			good = false
			continue
		}
		if out.Index(a.Name) >= 0 {
			i.fail(e.Pos, "E-DUPLICATE", fmt.Sprintf("the output has a field %q already, from group_by", a.Name), "give the aggregate another name")
			good = false
			continue
		}
		cfg.Aggregates = append(cfg.Aggregates, a)
		out.Fields = append(out.Fields, column.Field{Name: a.Name, Kind: a.Kind, Nullable: nullable})
	}
	if len(combine.Entries) == 0 {
		return i.fail(combine.Pos, "E-REQUIRED", "it combines nothing", "add `NAME: {value: FIELD, fn: sum}`")
	}
	var ok bool
	if cfg.Lateness, ok = i.lateness(); !good || !ok {
		return nil
	}
	return &Node{Op: physical.OpCombine, Config: cfg, Out: out}
}

// aggregate reads `name: fn`, which combines the field of that name, or `name: {value: expression, fn: fn}`.
func (i *infer) aggregate(e dsl.Entry) (physical.Aggregate, bool, bool) {
	none := physical.Aggregate{}
	value, fn := &dsl.Value{Kind: dsl.String, Text: e.Key, Pos: e.Pos}, e.Value
	if e.Value.Kind == dsl.Map {
		for _, f := range e.Value.Entries {
			if f.Key != "value" && f.Key != "fn" {
				i.fail(f.Pos, "E-FIELD", fmt.Sprintf("unknown field %q (fields: value, fn)", f.Key), fault.DidYouMean(f.Key, []string{"value", "fn"}, "remove it"))
				return none, false, false
			}
		}
		value, fn = e.Value.Get("value"), e.Value.Get("fn")
	}
	if fn == nil || value == nil {
		i.fail(e.Pos, "E-REQUIRED", fmt.Sprintf("the aggregate %q needs value and fn", e.Key), fmt.Sprintf("write `%s: {value: FIELD, fn: sum}`", e.Key))
		return none, false, false
	}
	if fn.Kind != dsl.String {
		i.fail(fn.Pos, "E-NOTYET", "functions with a config, or in Python, come in a later version", "use one of "+transform.FunctionList())
		return none, false, false
	}
	at, src, ok := i.expression(value)
	if !ok {
		return none, false, false
	}
	p := i.compile(at, src, i.t.Language)
	if p == nil {
		return none, false, false
	}
	kind, known, ok := transform.Aggregate(fn.Text, p.Kind())
	switch {
	case !known:
		i.fail(fn.Pos, "E-EXPR", fmt.Sprintf("there is no function %q (functions: %s)", fn.Text, transform.FunctionList()), fault.DidYouMean(fn.Text, transform.Functions(), "use one of them"))
		return none, false, false
	case !ok:
		i.fail(fn.Pos, "E-TYPE", fmt.Sprintf("%s does not combine %s (%s)", fn.Text, dsl.A(p.Kind()), src), transform.Instead(fn.Text, p.Kind()))
		return none, false, false
	case fn.Text == "count":
		// Beam's Python count counts elements and not the values that are present (CountCombineFn adds one whatever the value is),
		// so the value is checked and then not needed: an empty Expr counts rows.
		return physical.Aggregate{Name: e.Key, Fn: fn.Text, Kind: kind}, false, true
	}
	return physical.Aggregate{Name: e.Key, Fn: fn.Text, Expr: src, Language: i.t.Language, Kind: kind}, p.Nullable(), true
}

// lateness reads `lateness`, or `allowed_lateness` as Beam's other languages call it.
func (i *infer) lateness() (time.Duration, bool) {
	first, one := i.t.Weir.Entry("lateness")
	second, two := i.t.Weir.Entry("allowed_lateness")
	switch {
	case one && two:
		i.fail(second.Pos, "E-DUPLICATE", "lateness and allowed_lateness mean the same", "keep one of them")
		return 0, false
	case two:
		first = second
	case !one:
		return 0, true
	}
	d, err := dsl.ParseDuration(first.Value)
	if err != nil {
		i.fail(first.Value.Pos, "E-TYPE", err.Error(), "write `lateness: 10m`")
		return 0, false
	}
	return d, true
}
