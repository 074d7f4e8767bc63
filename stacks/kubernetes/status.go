package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/stacks"
)

// tell writes the server's word into the status, where it differs from what stands there.
func (c *Controller) tell(ctx context.Context, it *item, now time.Time) error {
	s, found, err := c.cfg.Server.Status(ctx, it.object.GetName(), string(it.object.GetUID()))
	if err != nil {
		return fmt.Errorf("ask for the status: %w", err)
	}
	if !found {
		s = Status{Phase: "refused"}
		if it.verdict == nil || it.verdict.accepted() {
			s.Phase = "starting"
		}
	}
	return c.write(ctx, it, func(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		status := render(o, it.verdict, s, now)
		if equality.Semantic.DeepEqual(o.Object["status"], status) {
			return o, nil
		}
		next := o.DeepCopy()
		next.Object["status"] = status
		return c.objects.UpdateStatus(ctx, next, metav1.UpdateOptions{})
	})
}

// render is the status of an object as JSON holds it. Conditions keep the time of their last transition.
func render(o *unstructured.Unstructured, v *verdict, s Status, now time.Time) map[string]any {
	generation := o.GetGeneration()
	out := map[string]any{"observedGeneration": generation, "phase": s.Phase}
	reason := s.Reason
	for _, service := range s.Services {
		if reason == "" && service.Reason != "" && service.State != "ready" {
			reason = service.Name + ": " + service.Reason
		}
	}
	var conditions []any
	old, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions") // what is no list is written anew
	add := func(kind string, holds bool, word, message string) {
		conditions = append(conditions, condition(old, kind, holds, word, message, generation, now))
	}
	if v != nil {
		add("Accepted", v.accepted(), v.reason, v.message)
		if !v.accepted() {
			reason, _, _ = strings.Cut(v.message, "\n")
		}
	}
	add("Ready", s.Phase == "running" || s.Phase == "complete", title(s.Phase), reason)
	add("Progressing", s.Phase == "starting" || s.Phase == "stopping", title(s.Phase), "")
	out["conditions"] = conditions
	if reason != "" {
		out["reason"] = clip(reason, maxReason)
	}
	if len(s.Services) > 0 {
		out["services"] = services(s.Services)
	}
	if len(s.Pipelines) > 0 {
		out["pipelines"] = pipelines(s.Pipelines)
	}
	return out
}

func condition(old []any, kind string, holds bool, word, message string, generation int64, now time.Time) map[string]any {
	c := map[string]any{"type": kind, "status": "False", "reason": word, "message": clip(message, maxMessage), "observedGeneration": generation,
		"lastTransitionTime": now.UTC().Format(time.RFC3339)}
	if holds {
		c["status"] = "True"
	}
	for _, was := range old {
		if w, ok := was.(map[string]any); ok && w["type"] == kind && w["status"] == c["status"] && w["lastTransitionTime"] != nil {
			c["lastTransitionTime"] = w["lastTransitionTime"]
		}
	}
	return c
}

func services(list []Service) []any {
	out := make([]any, len(list))
	for i, s := range list {
		m := map[string]any{"name": s.Name, "size": int64(s.Size), "ready": int64(s.Ready)}
		texts(m, "operator", s.Operator, "version", s.Version, "state", s.State, "endpoint", s.Endpoint, "reason", s.Reason)
		out[i] = m
	}
	return out
}

func pipelines(list []Pipeline) []any {
	out := make([]any, len(list))
	for i, p := range list {
		m := map[string]any{"name": p.Name, "run": int64(p.Run)}
		texts(m, "state", p.State, "reason", p.Reason)
		out[i] = m
	}
	return out
}

// texts sets those that say something.
func texts(m map[string]any, pairs ...string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[pairs[i]] = clip(pairs[i+1], maxReason)
		}
	}
}

// What the schema allows, in characters.
const (
	maxReason  = 4096
	maxMessage = 32768
)

func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func title(phase string) string { return strings.ToUpper(phase[:1]) + phase[1:] }

// word is a refusal for programs: what kind of failure it is.
func word(err error) string {
	switch fault.ExitCode(err) {
	case fault.ExitInvalid:
		return "Invalid"
	case fault.ExitNotFound:
		return "NotFound"
	case fault.ExitNoFit:
		return "DoesNotFit"
	case fault.ExitDenied:
		return "Denied"
	}
	return "Failed"
}

// refusal is a refusal for people: every mistake on a line, with its field where it is one of the object, with file:line:col where it is one
// of a pipeline, and with its hint.
func refusal(src []byte, err error) string {
	var list fault.List
	if !errors.As(err, &list) {
		list.Add(err)
	}
	var lines []string
	for _, e := range list {
		f := fault.From(e).Flat()
		line := ""
		if f.Pos.File == Document {
			if path := stacks.PathAt(src, f.Pos.Line, f.Pos.Col); path != "" {
				line = path + ": "
			}
			f.Pos = fault.Pos{}
		}
		line += f.Error()
		if f.Hint != "" {
			line += " (hint: " + f.Hint + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
