//go:build !linux

package process

import (
	"context"
	"fmt"
	"runtime"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/resources"
)

func refuse() error {
	return fault.New("E-PLATFORM", "run a process agent", "on "+runtime.GOOS,
		fault.Cause(fmt.Errorf("tasks are supervised with pidfd, /proc and cgroups, which only Linux has")),
		fault.Hint("weir run, test, validate and plan work here; weir up needs Linux"))
}

// Agent needs Linux.
type Agent struct{}

// New refuses: process agents need Linux.
func New(Config) (*Agent, error) { return nil, refuse() }

// Run refuses.
func (*Agent) Run(context.Context) error { return refuse() }

// Detect refuses: process agents need Linux.
func Detect(HostOptions) (resources.Resources, error) { return nil, refuse() }

// StopAll refuses: process agents need Linux.
func StopAll(context.Context, string) ([]resources.TaskID, error) { return nil, refuse() }
