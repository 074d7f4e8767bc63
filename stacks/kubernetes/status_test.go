package kubernetes

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"

	"github.com/weir-project/weir/stacks"
)

// What is written must pass the schema whole: an API server refuses what does not fit, and drops in silence what it does not know.
func TestTheStatusIsWhatTheSchemaDeclares(t *testing.T) {
	long := strings.Repeat("é", 50000)
	full := Status{Phase: "starting", Reason: long, Services: []Service{{Name: "events", Operator: "kafka", Version: "4.3", State: "scaling", Endpoint: "127.0.0.1:9092", Reason: long, Size: 3, Ready: 1}},
		Pipelines: []Pipeline{{Name: "flights", State: "running", Reason: long, Run: 2}}}
	o := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"generation": int64(4)}}}
	schema := stacks.StatusSchema()
	data, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	var s spec.Schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	for name, status := range map[string]map[string]any{
		"everything": render(o, &verdict{reason: "Accepted", message: "x"}, full, time.Now()),
		"a refusal":  render(o, &verdict{reason: "Invalid", message: long}, Status{Phase: "refused"}, time.Now()),
		"no verdict": render(o, nil, Status{Phase: "stopping"}, time.Now()),
	} {
		for _, err := range validate.NewSchemaValidator(&s, nil, "status", strfmt.Default).Validate(status).Errors {
			t.Errorf("%s: %.200v", name, err)
		}
		undeclared(t, schema, status, "status")
	}
	if missing := unset(schema, render(o, nil, full, time.Now()), "status"); len(missing) > 0 {
		t.Errorf("declared and never written: %v", missing)
	}
}

// undeclared walks a value and its schema together.
func undeclared(t *testing.T, schema stacks.Schema, v any, at string) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(stacks.Schema)
		for key, below := range v {
			p, ok := properties[key].(stacks.Schema)
			if !ok {
				t.Errorf("%s.%s is written and not declared", at, key)
				continue
			}
			undeclared(t, p, below, at+"."+key)
		}
	case []any:
		for _, below := range v {
			undeclared(t, schema["items"].(stacks.Schema), below, at+"[]")
		}
	}
}

// unset lists what the schema declares and the value, which sets all there is, does not hold.
func unset(schema stacks.Schema, v any, at string) (out []string) {
	if list, ok := v.([]any); ok {
		return unset(schema["items"].(stacks.Schema), list[0], at+"[]")
	}
	have, _ := v.(map[string]any)
	properties, _ := schema["properties"].(stacks.Schema)
	for key, p := range properties {
		below, ok := have[key]
		if !ok {
			out = append(out, fmt.Sprintf("%s.%s", at, key))
			continue
		}
		out = append(out, unset(p.(stacks.Schema), below, at+"."+key)...)
	}
	return out
}

func TestAConditionKeepsTheTimeOfItsLastChange(t *testing.T) {
	then := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := &unstructured.Unstructured{Object: map[string]any{}}
	since := func(status map[string]any, kind string) string {
		for _, c := range status["conditions"].([]any) {
			if m := c.(map[string]any); m["type"] == kind {
				return m["lastTransitionTime"].(string)
			}
		}
		return ""
	}
	o.Object["status"] = render(o, nil, Status{Phase: "starting"}, then)
	o.Object["status"] = render(o, nil, Status{Phase: "starting", Reason: "another"}, then.Add(time.Minute))
	if got := since(o.Object["status"].(map[string]any), "Ready"); got != "2026-01-01T00:00:00Z" {
		t.Errorf("another reason for the same moved the time to %s", got)
	}
	o.Object["status"] = render(o, nil, Status{Phase: "running"}, then.Add(2*time.Minute))
	if got := since(o.Object["status"].(map[string]any), "Ready"); got != "2026-01-01T00:02:00Z" {
		t.Errorf("a change is dated %s", got)
	}
}

// The answer to our own write is later than the events that are still on the way: they must not bring back what was.
func TestAnObjectGoesOnlyForwards(t *testing.T) {
	c := &Controller{known: map[string]*item{}, gone: map[string]string{}}
	at := func(uid, version string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "s", "uid": uid, "resourceVersion": version}}}
	}
	for _, step := range []struct{ uid, version, want string }{
		{"u1", "99", "u1 99"}, {"u1", "100", "u1 100"}, {"u1", "99", "u1 100"}, {"u1", "9", "u1 100"}, {"u2", "98", "u2 98"},
	} {
		c.see(at(step.uid, step.version))
		o := c.known["s"].object
		if got := fmt.Sprintf("%s %s", o.GetUID(), o.GetResourceVersion()); got != step.want {
			t.Errorf("after %s %s it is %s, want %s", step.uid, step.version, got, step.want)
		}
	}
	if c.gone["u1"] != "s" {
		t.Error("the object whose name was taken is forgotten")
	}
}
