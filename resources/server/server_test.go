package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/server"
)

// start runs a master until the test ends. Agents are played by resources/process, whose tests cover the links.
func start(t *testing.T) (*server.Master, func()) {
	t.Helper()
	m := server.New(server.Config{Term: 1})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return m, stop
}

func next(t *testing.T, events <-chan resources.Event) resources.Event {
	t.Helper()
	e, ok := <-events
	if !ok {
		t.Fatal("the stream ended")
	}
	return e
}

func TestTheFirstEventNamesTheFramework(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, stop := start(t)
		defer stop()
		events, err := m.Subscribe(t.Context(), resources.FrameworkInfo{Name: "nameless", Role: "r"})
		if err != nil {
			t.Fatal(err)
		}
		if e := next(t, events); e.Type != resources.EventSubscribed || !strings.HasPrefix(string(e.Framework), "framework-") {
			t.Errorf("first event %+v", e)
		}
	})
}

func TestTheNewerStreamOfOneIDWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, stop := start(t)
		defer stop()
		info := resources.FrameworkInfo{ID: "f", Role: "r"}
		old, err := m.Subscribe(t.Context(), info)
		if err != nil {
			t.Fatal(err)
		}
		next(t, old)
		newer, err := m.Subscribe(t.Context(), info)
		if err != nil {
			t.Fatal(err)
		}
		if e := next(t, old); e.Type != resources.EventError || e.Message != "Framework failed over" {
			t.Errorf("the old stream got %+v", e)
		}
		if e, ok := <-old; ok {
			t.Errorf("the old stream goes on with %+v", e)
		}
		next(t, newer)
		// A subscription that is refused leaves the one that stands.
		if _, err := m.Subscribe(t.Context(), resources.FrameworkInfo{ID: "f", Role: "other"}); err == nil {
			t.Error("a framework changed its role")
		}
		if err := m.Call(t.Context(), resources.Call{Framework: "f", Type: resources.CallReconcile, Tasks: []resources.TaskID{"t.1"}}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // recovery is over
		if err := m.Call(t.Context(), resources.Call{Framework: "f", Type: resources.CallReconcile, Tasks: []resources.TaskID{"t.1"}}); err != nil {
			t.Error(err)
		}
		if e := next(t, newer); e.Status == nil || e.Status.State != resources.Gone {
			t.Errorf("the newer stream got %+v", e)
		}
	})
}

func TestAStreamEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, stop := start(t)
		defer stop()
		ctx, cancel := context.WithCancel(t.Context())
		events, err := m.Subscribe(ctx, resources.FrameworkInfo{ID: "f", Role: "r"})
		if err != nil {
			t.Fatal(err)
		}
		next(t, events)
		cancel()
		if e, ok := <-events; ok {
			t.Errorf("the stream goes on with %+v", e)
		}
		err = m.Call(t.Context(), resources.Call{Framework: "f", Type: resources.CallRevive})
		if err == nil || !strings.Contains(err.Error(), "not subscribed") {
			t.Errorf("a call without a stream: %v", err)
		}
		snap, err := m.Snapshot(t.Context())
		if err != nil || len(snap.Frameworks) != 1 || snap.Frameworks[0].Connected {
			t.Errorf("frameworks %+v, %v", snap.Frameworks, err)
		}
	})
}

func TestAFrameworkThatDoesNotReadLosesItsStreamAndHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, stop := start(t)
		defer stop()
		time.Sleep(time.Minute) // recovery is over: every question is answered
		events, err := m.Subscribe(t.Context(), resources.FrameworkInfo{ID: "deaf", Role: "r"})
		if err != nil {
			t.Fatal(err)
		}
		ask := resources.Call{Framework: "deaf", Type: resources.CallReconcile, Tasks: []resources.TaskID{"t.1"}}
		var refused error
		for range 2000 {
			if refused = m.Call(t.Context(), ask); refused != nil {
				break
			}
		}
		if refused == nil || !strings.Contains(refused.Error(), "not subscribed") {
			t.Errorf("after 2000 unread events: %v", refused)
		}
		n := 0
		for range events { // ends, because the stream was closed
			n++
		}
		if n == 0 || n > 1100 {
			t.Errorf("%d events were kept for it", n)
		}
	})
}

func TestNothingWaitsForAMasterThatHasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, stop := start(t)
		events, err := m.Subscribe(t.Context(), resources.FrameworkInfo{ID: "f", Role: "r"})
		if err != nil {
			t.Fatal(err)
		}
		next(t, events)
		stop()
		if e, ok := <-events; ok {
			t.Errorf("the stream goes on with %+v", e)
		}
		_, err = m.Snapshot(t.Context())
		if !errors.Is(err, server.ErrStopped) || !errors.Is(m.Call(t.Context(), resources.Call{Framework: "f", Type: resources.CallRevive}), server.ErrStopped) {
			t.Errorf("a stopped master answers %v", err)
		}
		if _, err := m.Subscribe(t.Context(), resources.FrameworkInfo{ID: "f", Role: "r"}); !errors.Is(err, server.ErrStopped) {
			t.Errorf("a stopped master takes subscribers: %v", err)
		}
	})
}

func TestTeardownEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, stop := start(t)
		defer stop()
		events, err := m.Subscribe(t.Context(), resources.FrameworkInfo{ID: "f", Role: "r"})
		if err != nil {
			t.Fatal(err)
		}
		next(t, events)
		if err := m.Call(t.Context(), resources.Call{Framework: "f", Type: resources.CallTeardown}); err != nil {
			t.Fatal(err)
		}
		if e, ok := <-events; ok {
			t.Errorf("the stream goes on with %+v", e)
		}
		if err := m.Call(t.Context(), resources.Call{Framework: "f", Type: resources.CallSubscribe}); err == nil {
			t.Error("SUBSCRIBE was taken as a call")
		}
		reasons, err := m.WhyOffers(t.Context(), "")
		if err != nil || len(reasons) != 0 {
			t.Errorf("reasons %v, %v; nobody is there to be given one", reasons, err)
		}
	})
}
