package graph

import (
	"fmt"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
)

// SequenceConfig is the config of the generator connector.
type SequenceConfig struct {
	Start int64  `json:"start"`
	End   *int64 `json:"end,omitempty"`
}

// sequence reads GenerateSequence: one column, value. Its rate is the source's pace, which a `pace` in the weir: block overrides.
func (i *infer) sequence() *Node {
	var cfg SequenceConfig
	cfg.Start = i.t.Config.Get("start").Int
	if end := i.t.Config.Get("end"); end != nil {
		if end.Int < cfg.Start {
			return i.fail(end.Pos, "E-NUMBER", fmt.Sprintf("its end %d is before its start %d", end.Int, cfg.Start), "write an end above the start")
		}
		cfg.End = &end.Int
	}
	rate, ok := i.rate()
	if !ok {
		return nil
	}
	raw, ok := i.encode(cfg)
	if !ok {
		return nil
	}
	schema := column.Schema{Fields: []column.Field{{Name: "value", Kind: column.Int64}}}
	return i.read(physical.ReadConfig{Connector: "generator", Config: raw, Schema: schema, Bounded: cfg.End != nil, Pace: rate})
}

// rate reads {elements, seconds} as rows a second; 0 is as fast as it goes.
func (i *infer) rate() (float64, bool) {
	v := i.t.Config.Get("rate")
	if v == nil {
		return 0, true
	}
	elements, seconds := int64(0), int64(1)
	for _, e := range v.Entries {
		into := &elements
		switch e.Key {
		case "elements":
		case "seconds":
			into = &seconds
		default:
			i.fail(e.Pos, "E-FIELD", fmt.Sprintf("unknown field %q of a rate (fields: elements, seconds)", e.Key), "write `rate: {elements: 1000, seconds: 1}`")
			return 0, false
		}
		if e.Value.Kind != dsl.Int || e.Value.Int < 1 {
			i.fail(e.Value.Pos, "E-NUMBER", fmt.Sprintf("%s: %q is not a whole number above 0", e.Key, e.Value.Text), "write `rate: {elements: 1000, seconds: 1}`")
			return 0, false
		}
		*into = e.Value.Int
	}
	if elements == 0 {
		i.fail(v.Pos, "E-REQUIRED", "a rate says how many elements come", "write `rate: {elements: 1000, seconds: 1}`")
		return 0, false
	}
	return float64(elements) / float64(seconds), true
}
