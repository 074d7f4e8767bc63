package dsl

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/physical"
)

var stageKeys = []string{"pipeline", "weir", "mode", "after", "workers", "guarantee", "commit_interval", "schedule", "engine", "runner"}

// MaxWorkers is the largest workers.max of a stage.
const MaxWorkers = 1000

func (r *reader) stages(doc *Document, v *Value) {
	r.fields(v, "read pipeline", "stages", nil, func(e Entry) {
		r.checkName(e.Pos, e.Key, String, "stage", identifier)
		doc.Stages = append(doc.Stages, r.stage(e))
	})
}

func (r *reader) stage(e Entry) *Stage {
	s := &Stage{Name: e.Key, Pos: e.Pos, CommitInterval: DefaultCommit}
	what := fmt.Sprintf("stage %q", s.Name)
	r.fields(e.Value, "read", what, stageKeys, func(e Entry) {
		switch e.Key {
		case "mode":
			s.Mode, s.ModePos = r.oneOf(e.Value, what, "mode", "batch", "streaming"), e.Value.Pos
		case "after":
			s.After = r.names(e.Value, what, "after")
		case "workers":
			r.workers(s, e.Value, what)
		case "guarantee":
			s.Guarantee, s.GuaranteePos = r.oneOf(e.Value, what, "guarantee", "exactly_once", "at_least_once"), e.Value.Pos
		case "commit_interval":
			s.CommitInterval = r.interval(e.Value, what)
		case "schedule":
			r.bad(e.Pos, "E-NOTYET", "read", what, "schedules are not run yet", "leave it out and use `after`, or call `weir run` from cron")
		case "engine":
			s.Engine, s.EnginePos = r.oneOf(e.Value, what, "engine", physical.EngineNative, physical.EngineBeam), e.Value.Pos
		case "runner":
			s.Runner, s.RunnerPos = r.runner(e.Value, what), e.Value.Pos
		}
	})
	r.engine(s, what)
	body, ok := e.Value.Entry("pipeline")
	if !ok {
		if e.Value.Kind == Map && fault.Nearest("pipeline", e.Value.Keys()) == "" {
			r.bad(e.Pos, "E-REQUIRED", "read", what, "it has no `pipeline:`", "add `pipeline: {type: chain, transforms: […]}`")
		}
		return s
	}
	r.body(s, body.Value, e.Value.Get("weir"), false)
	return s
}

// later are Beam's runners that need a cluster beside the stack.
var later = []string{"flink", "spark"}

func (r *reader) runner(v *Value, what string) string {
	if v.Scalar() && slices.Contains(later, v.Text) {
		r.bad(v.Pos, "E-NOTYET", "read", what, fmt.Sprintf("runner %s is not built in yet: Weir does not start a %s cluster for it", v.Text, v.Text), "write `runner: prism`, which runs in one process")
		return ""
	}
	return r.oneOf(v, what, "runner", physical.RunnerPrism)
}

// engine checks that engine and runner belong together.
func (r *reader) engine(s *Stage, what string) {
	switch {
	case s.Engine == physical.EngineBeam && s.Runner == "" && s.RunnerPos.Line == 0:
		r.bad(s.EnginePos, "E-REQUIRED", "read", what, "the beam engine needs a runner", "add `runner: prism`")
	case s.Engine != physical.EngineBeam && s.Runner != "":
		r.bad(s.RunnerPos, "E-TYPE", "read", what, "only the beam engine has runners, and the stage runs natively", "add `engine: beam`, or leave `runner` out")
	}
}

func (r *reader) interval(v *Value, what string) time.Duration {
	d, err := ParseDuration(v)
	if err != nil || d < 10*time.Millisecond || d > time.Hour {
		cause := fmt.Sprintf("commit_interval %q is not between 10ms and 1h", v.Text)
		if err != nil {
			cause = err.Error()
		}
		r.bad(v.Pos, "E-TYPE", "read", what, cause, "write `commit_interval: 1s`")
		return DefaultCommit
	}
	return d
}

func (r *reader) workers(s *Stage, v *Value, what string) {
	if v.Kind == Int {
		s.MinWorkers, s.MaxWorkers = r.count(v, what, "workers"), r.count(v, what, "workers")
		return
	}
	s.MinWorkers = 1
	r.fields(v, "read", what+" workers", []string{"min", "max"}, func(e Entry) {
		if e.Key == "min" {
			s.MinWorkers = r.count(e.Value, what, "workers.min")
		} else {
			s.MaxWorkers = r.count(e.Value, what, "workers.max")
		}
	})
	if s.MaxWorkers == 0 {
		s.MaxWorkers = s.MinWorkers
	}
	if s.MaxWorkers < s.MinWorkers {
		r.bad(v.Pos, "E-TYPE", "read", what, fmt.Sprintf("workers.max %d is less than workers.min %d", s.MaxWorkers, s.MinWorkers), "raise max or lower min")
	}
}

func (r *reader) count(v *Value, what, field string) int {
	if v.Kind != Int || v.Int < 1 || v.Int > MaxWorkers {
		r.bad(v.Pos, "E-TYPE", "read", what, fmt.Sprintf("%s %q is not a whole number from 1 to %d", field, v.Text, MaxWorkers), "write `workers: {min: 1, max: 4}`")
		return 1
	}
	return int(v.Int)
}

func (r *reader) oneOf(v *Value, what, field string, allowed ...string) string {
	if !v.Scalar() || !slices.Contains(allowed, v.Text) {
		r.bad(v.Pos, "E-TYPE", "read", what, fmt.Sprintf("%s %q is unknown (known: %s)", field, v.Text, strings.Join(allowed, ", ")), fault.DidYouMean(v.Text, allowed, "write `"+field+": "+allowed[0]+"`"))
		return ""
	}
	return v.Text
}

// names reads one name or a list of them.
func (r *reader) names(v *Value, what, field string) []Name {
	items := []*Value{v}
	if v.Kind == List {
		items = v.Items
	}
	var out []Name
	for _, i := range items {
		if i.Kind != String {
			r.bad(i.Pos, "E-TYPE", "read", what, fmt.Sprintf("%s lists names, this is %s", field, A(i.Kind)), "write `"+field+": [name]`")
			continue
		}
		out = append(out, Name{i.Text, i.Pos})
	}
	return out
}

// Names reads one name or a list of them; ok is false where a value is no string.
func Names(v *Value) (out []Name, ok bool) {
	if v == nil {
		return nil, true
	}
	items := []*Value{v}
	if v.Kind == List {
		items = v.Items
	}
	for _, i := range items {
		if i.Kind != String {
			return nil, false
		}
		out = append(out, Name{i.Text, i.Pos})
	}
	return out, true
}
