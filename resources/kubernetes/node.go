package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weir-project/weir/internal/lifecycle"
	"github.com/weir-project/weir/resources"
)

// node is one agent as the fleet sees it: what is known of its node, and the goroutine that lives for it.
type node struct {
	id   resources.AgentID
	name string // of the Kubernetes node; the fleet's while no agent runs

	unmade map[string]bool // volumes whose claims could not be made; the agent's

	mu    sync.Mutex // guards what follows
	have  resources.Resources
	gone  bool
	seen  map[string]sighting // by pod: what has changed since the agent looked last
	wake  chan struct{}       // of capacity one
	ended bool                // its node is gone and nothing is left to tell

	cancel context.CancelCauseFunc // nil while it does not run; the fleet's
	over   chan struct{}
}

// sighting is a pod that has changed, or the last of one that is gone.
type sighting struct {
	pod  *corev1.Pod
	gone bool
}

func newNode(id resources.AgentID, name string) *node {
	return &node{id: id, name: name, unmade: map[string]bool{}, seen: map[string]sighting{}, wake: make(chan struct{}, 1)}
}

func (n *node) poke() {
	select {
	case n.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// aim says what the node has now. It never waits.
func (n *node) aim(have resources.Resources, gone bool) {
	n.mu.Lock()
	same := have.Equal(n.have) && gone == n.gone
	n.have, n.gone = have, gone
	n.mu.Unlock()
	if !same {
		n.poke()
	}
}

// sight notes that one of its pods has changed.
func (n *node) sight(p *corev1.Pod, gone bool) {
	n.mu.Lock()
	n.seen[p.Name] = sighting{p, gone}
	n.mu.Unlock()
	n.poke()
}

// take is all that is new.
func (n *node) take() (have resources.Resources, gone bool, seen map[string]sighting) {
	n.mu.Lock()
	defer n.mu.Unlock()
	seen, n.seen = n.seen, map[string]sighting{}
	return n.have, n.gone, seen
}

func (n *node) finished() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ended
}

// wasGone reports that its node was deleted, as far as the fleet has seen.
func (n *node) wasGone() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gone
}

// startAgent begins the agent's lives: one after another, since whoever finds the record changed by another begins from that record.
func (f *Fleet) startAgent(ctx context.Context, n *node) {
	ctx, cancel := context.WithCancelCause(ctx)
	n.cancel, n.over = cancel, make(chan struct{})
	log := f.config.Log.With("agent", n.id)
	go func() {
		defer close(n.over)
		for attempt := 0; ; attempt++ {
			began := time.Now()
			err := f.live(ctx, n, log)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				n.mu.Lock()
				n.ended = true
				n.mu.Unlock()
				f.poke()
				return
			}
			if time.Since(began) > 10*time.Second {
				attempt = 0
			}
			wait := f.api.backoff.Next(attempt, rand.Float64())
			if !errors.Is(err, errTaken) {
				f.note("agent "+string(n.id), err)
			}
			log.Warn("an agent begins anew", "err", tell(err), "wait", wait)
			if lifecycle.Sleep(ctx, wait) != nil {
				return
			}
		}
	}()
}

// stopAgent ends it and waits; its pods run on.
func (n *node) stop(why error) {
	if n.cancel == nil {
		return
	}
	n.cancel(why)
	<-n.over
	n.cancel = nil
}

func (n *node) runs() bool { return n.cancel != nil }

var errUnreachable = errors.New("its node does not answer")

func goneMessage(node string) string {
	return fmt.Sprintf("node %s was deleted from the cluster", node)
}
