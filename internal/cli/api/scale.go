package api

import (
	"time"

	"github.com/weir-project/weir/operators/autoscale"
)

// Target is a service and the size that it shall have.
type Target struct {
	Stack   string `json:"stack"`
	Service string `json:"service"`
	Size    int    `json:"size"`
}

// Scale is the body of POST /v1/scale: all of it is done, or nothing.
type Scale struct {
	Targets []Target `json:"targets"`
	DryRun  bool     `json:"dry_run,omitempty"`
}

// Scaled is the answer to a Scale, or what would be answered.
type Scaled struct {
	Changed bool     `json:"changed"`
	Notes   []string `json:"notes"` // what becomes of each service, in words
	Text    string   `json:"text"`  // of a dry run: the plans, step by step
}

// Scaling is how the size of a worker service is decided: the answer to `weir why scale`.
type Scaling struct {
	Service string               `json:"service"`
	Stage   string               `json:"stage,omitempty"` // that was asked for
	Auto    bool                 `json:"auto"`            // the load decides, between Min and Max
	Workers int                  `json:"workers"`
	Min     int                  `json:"min"`
	Max     int                  `json:"max"`
	Reason  autoscale.Reason     `json:"reason"`
	Next    string               `json:"next,omitempty"` // what to type next; empty: there is nothing to do
	Last    *autoscale.Decision  `json:"last,omitempty"`
	Changes []autoscale.Decision `json:"changes"` // the last ones, oldest first
}

// Pause is the body of POST /v1/pause: it holds a service's plan, or with Paused false lets it go on.
type Pause struct {
	Stack   string `json:"stack"`
	Service string `json:"service"`
	Paused  bool   `json:"paused"`
}

// Rollout is a service's plan.
type Rollout struct {
	Name     string    `json:"name"` // deploy, update, recover, "scale out 1 -> 3"
	Revision string    `json:"revision"`
	Summary  string    `json:"summary"` // in progress, waiting, complete, error
	Why      string    `json:"why,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Paused   time.Time `json:"paused,omitzero"` // since when it is held; zero: it is not
	Phases   []Phase   `json:"phases"`
}

// Phase of a plan.
type Phase struct {
	Name     string `json:"name"`
	Strategy string `json:"strategy"`
	Summary  string `json:"summary"`
	Steps    []Step `json:"steps"`
}

// Step of a phase.
type Step struct {
	ID     string `json:"id"`
	Action string `json:"action"`
	Status string `json:"status"` // pending, prepared, starting, started, complete, error, delayed, waiting
	Reason string `json:"reason,omitempty"`
}
