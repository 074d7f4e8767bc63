package cli

import (
	"testing"

	"github.com/weir-project/weir/internal/cli/api"
)

func TestACountdownIsNoPartOfTheReason(t *testing.T) {
	for reason, want := range map[string][2]string{
		"workers-0:launch delayed: attempt 6 failed: FAILED, exit code 1; again in 3.2s": {"workers-0:launch delayed: attempt 6 failed: FAILED, exit code 1", "again in 3.2s"},
		"workers-0:launch delayed: give it more; again in 400ms":                         {"workers-0:launch delayed: give it more", "again in 400ms"},
		"workers-2:stop pending: the size is 1":                                          {"workers-2:stop pending: the size is 1", ""},
		"try again in vain":                                                              {"try again in vain", ""},
		"":                                                                               {"", ""},
	} {
		if text, note := api.Steady(reason); text != want[0] || note != want[1] {
			t.Errorf("steady(%q) = %q, %q, want %q", reason, text, note, want)
		}
	}
}

func TestUpWaitsForWhatIsAskedFor(t *testing.T) {
	ready := api.Service{Name: "workers", State: "ready", Want: 2, Ready: 2}
	grown := api.Service{Name: "workers", State: "ready", Want: 3, Ready: 2}
	bounded := api.Pipeline{Name: "p", State: "running", Bounded: true}
	complete := api.Pipeline{Name: "p", State: "complete", Bounded: true}
	endless := api.Pipeline{Name: "p", State: "running"}
	for _, c := range []struct {
		what   string
		stack  api.Stack
		detach bool
		want   bool
	}{
		{"services alone", api.Stack{State: "running", Services: []api.Service{ready}}, false, true},
		{"a worker that the plan does not know yet", api.Stack{State: "running", Services: []api.Service{grown}}, false, false},
		{"a bounded pipeline that runs", api.Stack{State: "running", Services: []api.Service{ready}, Pipelines: []api.Pipeline{bounded}}, false, false},
		{"the same, detached", api.Stack{State: "running", Services: []api.Service{ready}, Pipelines: []api.Pipeline{bounded}}, true, true},
		{"a bounded pipeline that is complete", api.Stack{State: "complete", Services: []api.Service{ready}, Pipelines: []api.Pipeline{complete}}, false, true},
		{"a pipeline that never ends", api.Stack{State: "running", Services: []api.Service{ready}, Pipelines: []api.Pipeline{endless}}, false, true},
		{"a stack that starts", api.Stack{State: "starting", Services: []api.Service{ready}}, true, false},
	} {
		if got, err := arrived(&c.stack, c.detach); got != c.want || err != nil {
			t.Errorf("%s: arrived is %v, %v, want %v", c.what, got, err, c.want)
		}
	}
	for _, state := range []string{"failed", "stopped"} {
		s := api.Stack{Name: "s", State: state, Reason: "no Java", Hint: "install one", Exit: 1}
		if done, err := arrived(&s, false); !done || err == nil {
			t.Errorf("a stack that is %s: arrived is %v, %v", state, done, err)
		}
	}
}
