package graph

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
)

// windowFields are what each type of window takes, and which of it it needs.
var windowFields = map[string]struct{ known, needed []string }{
	"global":   {nil, nil},
	"fixed":    {[]string{"size", "offset"}, []string{"size"}},
	"sliding":  {[]string{"size", "period", "offset"}, []string{"size", "period"}},
	"sessions": {[]string{"gap"}, []string{"gap"}},
}

// window is the transform's own windowing, else that of its input, else the global one.
func (i *infer) window() (physical.WindowConfig, bool) {
	if i.t.Windowing != nil {
		return i.windowConfig(i.t.Windowing)
	}
	if len(i.in) > 0 {
		return i.in[0].Window, true
	}
	return global, true
}

// windowConfig reads {type: fixed, size: 1h}.
func (i *infer) windowConfig(v *dsl.Value) (physical.WindowConfig, bool) {
	types := []string{"fixed", "global", "sessions", "sliding"}
	typ := v.Get("type")
	if v.Kind != dsl.Map || typ == nil {
		i.fail(v.Pos, "E-WINDOW", "windowing is a mapping with a type ("+strings.Join(types, ", ")+")", "write `windowing: {type: fixed, size: 1h}`")
		return global, false
	}
	form, ok := windowFields[typ.Text]
	if !ok {
		i.fail(typ.Pos, "E-WINDOW", fmt.Sprintf("there is no window type %q (types: %s)", typ.Text, strings.Join(types, ", ")), fault.DidYouMean(typ.Text, types, "write `type: fixed`"))
		return global, false
	}
	w := physical.WindowConfig{Type: typ.Text}
	into := map[string]*time.Duration{"size": &w.Size, "period": &w.Period, "offset": &w.Offset, "gap": &w.Gap}
	for _, e := range v.Entries {
		if e.Key == "type" {
			continue
		}
		if !slices.Contains(form.known, e.Key) {
			known := append([]string{"type"}, form.known...)
			i.fail(e.Pos, "E-FIELD", fmt.Sprintf("a %s window has no %q (fields: %s)", w.Type, e.Key, strings.Join(known, ", ")), fault.DidYouMean(e.Key, known, "remove it"))
			return global, false
		}
		d, err := dsl.ParseDuration(e.Value)
		if err == nil && d == 0 && e.Key != "offset" {
			err = fmt.Errorf("a %s of zero holds nothing", e.Key)
		}
		if err != nil {
			i.fail(e.Value.Pos, "E-WINDOW", err.Error(), "write a duration such as 90s, 15m or 1h")
			return global, false
		}
		*into[e.Key] = d
	}
	for _, name := range form.needed {
		if v.Get(name) == nil {
			i.fail(v.Pos, "E-WINDOW", fmt.Sprintf("a %s window needs its %s", w.Type, name), fmt.Sprintf("add `%s: 1h`", name))
			return global, false
		}
	}
	if w.Size > 0 && w.Period == 0 {
		w.Offset %= w.Size
	}
	return w, true
}

func (i *infer) windowInto() *Node {
	w, ok := i.windowConfig(i.t.Config.Get("windowing"))
	if !ok {
		return nil
	}
	return &Node{Op: physical.OpWindow, Config: w, Out: i.input(), Window: w}
}

var windowParts = []string{"timestamp", "window_start", "window_end"}

// windowInfo adds the event time and the window as fields.
func (i *infer) windowInfo(w physical.WindowConfig) *Node {
	cfg := physical.WindowInfoConfig{Window: w}
	out := column.Schema{Fields: slices.Clone(i.input().Fields)}
	add := func(name string, of string, at, ofAt fault.Pos) bool {
		if slices.Contains([]string{"window_string", "window_type", "window_object", "pane_info"}, of) {
			i.fail(ofAt, "E-NOTYET", of+" comes in a later version", "take "+strings.Join(windowParts, ", "))
			return false
		}
		if !slices.Contains(windowParts, of) {
			hint := fault.DidYouMean(of, windowParts, "name one of them")
			i.fail(ofAt, "E-FIELD", fmt.Sprintf("%q is no part of a window here (parts: %s)", of, strings.Join(windowParts, ", ")), hint)
			return false
		}
		if out.Index(name) >= 0 {
			i.fail(at, "E-DUPLICATE", fmt.Sprintf("the input has a field %q already", name), "give it another name: `fields: {NAME: "+of+"}`")
			return false
		}
		if of != "timestamp" && w.Type != "fixed" && w.Type != "global" {
			i.fail(at, "E-NOTYET", fmt.Sprintf("the window of a row cannot be told from its time in %s windows yet", w.Type), "use fixed windows, or take the timestamp alone")
			return false
		}
		cfg.Fields = append(cfg.Fields, physical.WindowField{Name: name, Of: of})
		out.Fields = append(out.Fields, column.Field{Name: name, Kind: column.Timestamp})
		return true
	}
	v := i.t.Config.Get("fields")
	switch {
	case v == nil:
		for _, part := range windowParts {
			if !add(part, part, i.t.Pos, i.t.Pos) {
				return nil
			}
		}
	case v.Kind == dsl.Map:
		for _, e := range v.Entries {
			if !add(e.Key, e.Value.Text, e.Pos, e.Value.Pos) {
				return nil
			}
		}
	default:
		names, _ := dsl.Names(v) // its shape was checked
		for _, n := range names {
			if !add(n.Name, n.Name, n.Pos, n.Pos) {
				return nil
			}
		}
	}
	return &Node{Op: physical.OpWindowInfo, Config: cfg, Out: out}
}
