package kernel

import (
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/pipelines/state"
	"github.com/weir-project/weir/pipelines/window"
)

// Combine computes what a combine aggregates; the aggregation itself is package state's.
type Combine struct {
	Config physical.CombineConfig
	Keys   []int        // of the input's columns
	State  state.Config // without a seed

	node   physical.Node
	values []computed
	cols   []*column.Column // scratch
}

// NewCombine makes the kernel of a combine node; in is the schema of its input.
func NewCombine(n physical.Node, in column.Schema) (*Combine, error) {
	cfg, err := Config[physical.CombineConfig](n)
	if err != nil {
		return nil, err
	}
	c := &Combine{Config: cfg, node: n, State: state.Config{Lateness: cfg.Lateness.Microseconds()}}
	if c.State.Window, err = window.New(cfg.Window); err != nil {
		return nil, wrong(n, err)
	}
	for _, k := range cfg.GroupBy {
		i := in.Index(k)
		if i < 0 {
			return nil, wrong(n, fmt.Errorf("group_by %s is not a column of the input (%v)", k, in.Names()))
		}
		c.Keys = append(c.Keys, i)
		c.State.Keys = append(c.State.Keys, in.Fields[i].Kind)
	}
	for _, a := range cfg.Aggregates {
		value, agg := computed{source: -1}, state.Agg{Fn: a.Fn, Out: a.Kind}
		if a.Expr != "" && a.Fn != "count" {
			if value, err = compute(a.Expr, a.Language, column.Invalid, in); err != nil {
				return nil, wrong(n, fmt.Errorf("aggregate %s: %w", a.Name, err))
			}
			agg.In = value.kind
		}
		c.values, c.State.Aggs = append(c.values, value), append(c.State.Aggs, agg)
	}
	if want := len(c.Keys) + len(c.values); len(n.Out.Fields) != want {
		return nil, wrong(n, fmt.Errorf("its output has %d columns and not %d keys and aggregates", len(n.Out.Fields), want))
	}
	return c, nil
}

// Values computes the aggregates' columns for state.Table.Update: nil for a count of rows.
func (c *Combine) Values(b *column.Batch) ([]*column.Column, error) {
	c.cols = c.cols[:0]
	for i := range c.values {
		e := &c.values[i]
		if e.source < 0 && e.program == nil { // a count of rows
			c.cols = append(c.cols, nil)
			continue
		}
		col, err := e.eval(b)
		if err != nil {
			return nil, wrong(c.node, err)
		}
		c.cols = append(c.cols, col)
	}
	return c.cols, nil
}
