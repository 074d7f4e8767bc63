package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/console"
	"github.com/weir-project/weir/internal/fault"
)

var formats = []string{"table", "wide", "json", "yaml", "name"}
var kinds = []string{"services", "pipelines", "tasks", "stacks", "agents"}

func (a *app) getCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "get [services|pipelines|tasks|stacks|agents] [NAME]", Short: "List what runs, and how far it is",
		Example: "  weir get\n  weir get tasks -o wide\n  weir get pipelines flights -o json\n  weir get agents", Args: args(0, 2),
		RunE: func(c *cobra.Command, argv []string) error {
			if !slices.Contains(formats, a.output) {
				return fault.Usage("E-USAGE", "print as", a.output, fault.Causef("there is no such format (formats: %s)", strings.Join(formats, ", ")), fault.Hint(fault.DidYouMean(a.output, formats, "weir get -o json")))
			}
			kind, name := "", ""
			if len(argv) > 0 {
				kind = argv[0]
				if !strings.HasSuffix(kind, "s") {
					kind += "s"
				}
				if !slices.Contains(kinds, kind) {
					return fault.Usage("E-USAGE", "get", argv[0], fault.Causef("there is no such kind (kinds: %s)", strings.Join(kinds, ", ")), fault.Hint(fault.DidYouMean(kind, kinds, "weir get")))
				}
			}
			if len(argv) > 1 {
				name = argv[1]
			}
			client, err := a.server(c.Context())
			if err != nil {
				return err
			}
			if kind == "agents" {
				return a.getAgents(c.Context(), client, name)
			}
			return a.get(c.Context(), client, kind, name)
		},
	}
	c.Flags().StringVarP(&a.output, "output", "o", "table", "table, wide, json, yaml or name")
	return c
}

// section is one table of `get`.
type section struct {
	kind   string
	header []string
	items  []item
}

// item is one thing with its rows: a pipeline has one a stage.
type item struct {
	name  string
	whole string // of what other commands call STACK/NAME
	datum any
	rows  [][]string
}

func (a *app) get(ctx context.Context, client *api.Client, kind, name string) error {
	var list []api.Stack
	if err := client.Do(ctx, "GET", "/v1/stacks", nil, &list); err != nil {
		return err
	}
	var shown []section
	for _, s := range sections(list, a.output == "wide") {
		if kind == "" && s.kind == "stacks" || kind != "" && s.kind != kind {
			continue
		}
		if s = s.only(name); name != "" && len(s.items) == 0 && kind != "" {
			return fault.NotFound("E-NOT-FOUND", "get", kind+" "+name, fault.Causef("there is none of that name"), fault.Hint("weir get "+kind))
		}
		shown = append(shown, s)
	}
	switch {
	case len(list) == 0:
		fmt.Fprintln(a.err, "no stack is there; `weir up STACK.yaml` brings one up")
	case kind != "" && len(shown) == 1 && len(shown[0].items) == 0:
		fmt.Fprintf(a.err, "there are no %s; `weir get` shows what there is\n", kind)
	}
	return a.print(shown, kind != "" && name != "")
}

func (s section) only(name string) section {
	if name == "" {
		return s
	}
	out := section{kind: s.kind, header: s.header}
	for _, i := range s.items {
		if i.name == name || i.whole == name {
			out.items = append(out.items, i)
		}
	}
	return out
}

func (a *app) print(shown []section, single bool) error {
	switch a.output {
	case "json", "yaml":
		return encode(a.out, a.output, document(shown, single))
	case "name":
		for _, s := range shown {
			for _, i := range s.items {
				fmt.Fprintf(a.out, "%s/%s\n", strings.TrimSuffix(s.kind, "s"), i.name)
			}
		}
		return nil
	}
	first := true
	for _, s := range shown {
		var rows [][]string
		for _, i := range s.items {
			rows = append(rows, i.rows...)
		}
		if len(rows) == 0 {
			continue
		}
		if !first {
			fmt.Fprintln(a.out)
		}
		first = false
		if err := console.Table(a.out, s.header, rows); err != nil {
			return err
		}
	}
	return nil
}

// document is what machines read: a list under each kind, or the one thing that was named.
func document(shown []section, single bool) any {
	doc := map[string]any{}
	for _, s := range shown {
		data := []any{}
		for _, i := range s.items {
			data = append(data, i.datum)
		}
		if single && len(data) == 1 {
			return data[0]
		}
		doc[s.kind] = data
	}
	return doc
}

// encode prints v as JSON, or as the YAML of the same fields.
func encode(w io.Writer, format string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	data := b.Bytes()
	if format == "yaml" {
		// JSON is YAML: read as such, whole numbers stay whole.
		var plain any
		err := yaml.Unmarshal(data, &plain)
		if err == nil {
			data, err = yaml.Marshal(plain)
		}
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
	}
	_, err := w.Write(data)
	return err
}

func sections(list []api.Stack, wide bool) []section {
	st := section{kind: "stacks", header: []string{"STACK", "STATE", "REASON"}}
	sv := section{kind: "services", header: []string{"SERVICE", "OPERATOR", "VERSION", "READY", "STATE", "ENDPOINT", "REASON"}}
	pl := section{kind: "pipelines", header: []string{"PIPELINE", "RUN", "STAGE", "MODE", "STATE", "SLOTS", "IN", "WRITTEN", "LATE", "WATERMARK", "REASON"}}
	tk := section{kind: "tasks", header: []string{"TASK", "SERVICE", "STATE", "PID", "AGE", "REASON"}}
	if wide {
		tk.header = append(tk.header, "HOLDS")
	}
	for _, s := range list {
		st.add(s.Name, s, []string{s.Name, s.State, s.Reason})
		for _, v := range s.Services {
			sv.add(v.Name, v, []string{v.Name, v.Operator, dash(v.Version), fmt.Sprintf("%d/%d", v.Ready, v.Want), v.State, dash(v.Endpoint), v.Reason})
			sv.items[len(sv.items)-1].whole = s.Name + "/" + v.Name
		}
		for _, p := range s.Pipelines {
			var rows [][]string
			for _, g := range p.Stages {
				rows = append(rows, []string{p.Name, fmt.Sprint(p.Run), g.Name, g.Mode, g.State, fmt.Sprintf("%d/%d", g.Running+g.EndedN, g.Slots),
					fmt.Sprint(g.Counters.In), fmt.Sprint(g.Counters.Written), fmt.Sprint(g.Counters.Late), instant(g.Watermark), stageReason(p, g)})
			}
			pl.add(p.Name, p, rows...)
		}
		for _, t := range s.Tasks {
			row := []string{t.Name, t.Service, t.State, fmt.Sprint(t.PID), age(t.Since), t.Reason}
			if !wide {
				row[5] = short(t.Reason)
			}
			if wide {
				row = append(row, t.Holds)
			}
			tk.add(t.Name, t, row)
		}
	}
	return []section{st, sv, pl, tk}
}

// stageReason is what a stage waits for: a reason of its own, or its pipeline's.
func stageReason(p api.Pipeline, g api.Stage) string {
	if g.Reason == "" && g.State == "waiting" {
		return p.Reason
	}
	return g.Reason
}

func (s *section) add(name string, datum any, rows ...[]string) {
	s.items = append(s.items, item{name: name, datum: datum, rows: rows})
}

// short keeps a line a line; -o wide shows the whole.
func short(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// instant prints a watermark.
func instant(micros int64) string {
	switch {
	case micros == 0 || micros < -1<<60:
		return "-"
	case micros > 1<<60:
		return "end"
	}
	return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05Z")
}

func age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return time.Since(t).Round(time.Second).String()
}
