package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/resources"
)

// inWorld runs a test in virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newWorld(t)) })
}

func TestAnAttemptIsStoredBeforeItsOfferIsAccepted(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.offer("o1", 200)
		w.said("save", "command web-0", "ACCEPT [o1] LAUNCH s.web-0.run.n.1", "SUPPRESS")
		w.expect("the step", w.step(s, "web-0:launch"), "prepared task s.web-0.run.n.1 was launched, its agent has not said so yet")
		pass(time.Second)
		w.update(1, resources.Running, "u1")
		w.said("ACKNOWLEDGE s.web-0.run.n.1 u1")
		w.expect("the plan", string(s.Status().Plan.Summary()), string(plan.Done))
		w.expect("what it took", s.Status().Took.String(), "1s")
	})
}

func TestAnAttemptThatCannotBeStoredLaunchesNothingAndGivesTheOfferBack(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.set("save", "the disk is full")
		w.offer("o1", 200)
		w.said("save", "DECLINE [o1] for 2s")
		w.expect("the step", w.step(s, "web-0:launch"), "pending ")
		if s.Status().Busy || len(s.Status().Observed.Attempts) > 0 && s.Status().Observed.Attempts["web-0:launch"].Total != 0 {
			t.Errorf("an attempt that was not stored is counted: %+v", s.Status())
		}
		w.set("save", "")
		w.offer("o2", 200)
		w.said("save", "command web-0", "ACCEPT [o2] LAUNCH s.web-0.run.n.1", "SUPPRESS")
	})
}

func TestAnOfferThatDoesNotFitIsDeclinedForAWhileAndItsReasonsAreKept(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.expect("no offer", s.Status().NoOffer, "web-0 waits for an offer\n")
		w.offer("o1", 50)
		w.said("DECLINE [o1] for 2s")
		want := "web-0 fits in none of 1 offers\n  web-0 does not fit on agent a1\n    needs mem 100 MiB, agent a1 offers mem 50 MiB\n"
		w.expect("no offer", s.Status().NoOffer, want)
		w.offer("o2", 200)
		w.said("save", "command web-0", "ACCEPT [o2] LAUNCH s.web-0.run.n.1", "SUPPRESS")
		w.expect("no offer", s.Status().NoOffer, "")
	})
}

func TestOffersAreAskedForOnceAndRefusedForAnHourWhenNoLaunchWantsOne(t *testing.T) {
	inWorld(t, func(w *world) {
		_, stop := w.begin()
		defer stop()
		pass(time.Minute)
		w.said() // hungry: asked once
		w.running()
		pass(time.Minute)
		w.said() // sated: said once
		w.offer("o2", 200)
		w.said("DECLINE [o2] for 1h0m0s")
	})
}

func TestARevivalThatFailsIsAskedForAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("REVIVE", "the master is busy")
		_, stop := w.begin()
		defer stop()
		w.set("REVIVE", "")
		pass(time.Second)
		w.said("REVIVE")
	})
}

func TestARescindedOfferIsNotAccepted(t *testing.T) {
	inWorld(t, func(w *world) {
		_, stop := w.begin()
		defer stop()
		w.events <- resources.Event{Type: resources.EventOffers, Offers: []resources.Offer{{ID: "o1", Agent: "a1", Resources: resources.Resources{{Name: resources.Mem, Scalar: 200_000}}}}}
		w.events <- resources.Event{Type: resources.EventRescind, Offer: "o1"}
		w.said()
	})
}

func TestATasksEndIsBookedOnceAndAcknowledgedAfterTheSave(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.running()
		w.update(1, resources.Failed, "u2")
		w.said("save", "ACKNOWLEDGE s.web-0.run.n.1 u2")
		w.update(1, resources.Failed, "u2") // the acknowledgement was lost
		w.said("ACKNOWLEDGE s.web-0.run.n.1 u2")
		w.expect("the step", w.step(s, "web-0:launch"), "delayed attempt 1 failed: FAILED, exit code 7; again in 500ms")
		pass(600 * time.Millisecond)
		w.said("REVIVE")
		w.offer("o2", 200)
		w.said("save", "command web-0", "ACCEPT [o2] LAUNCH s.web-0.run.n.2", "SUPPRESS")
	})
}

func TestAnEndThatCannotBeStoredIsNotAcknowledgedAndIsBookedWhenItComesAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.running()
		w.set("save", "the disk is full")
		w.update(1, resources.Failed, "u2")
		w.said("save")
		w.expect("the step", w.step(s, "web-0:launch"), "complete ")
		w.set("save", "")
		w.update(1, resources.Failed, "u2")
		w.said("save", "ACKNOWLEDGE s.web-0.run.n.1 u2")
		if !strings.Contains(string(w.stored), `"settled":"s.web-0.run.n.1"`) {
			t.Errorf("the end is not in the store: %s", w.stored)
		}
	})
}

func TestAStatusOfAnOlderAttemptIsAcknowledgedAndChangesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.running()
		w.update(1, resources.Failed, "u2")
		pass(time.Second)
		w.offer("o2", 200)
		w.update(2, resources.Running, "u3")
		pass(time.Second)
		w.lines = nil
		for _, state := range []resources.TaskState{resources.Running, resources.Failed} {
			w.update(1, state, "u4")
			w.said("ACKNOWLEDGE s.web-0.run.n.1 u4")
		}
		w.update(2, resources.Running, "u5")
		w.said("ACKNOWLEDGE s.web-0.run.n.2 u5")
		if got := s.Status().Observed.Tasks["web-0"].ID; got != task(2) || s.Status().Plan.Summary() != plan.Done {
			t.Errorf("the pod's task is %s:\n%s", got, s.Status().Plan)
		}
	})
}

func TestAnEndIsNotTakenBackByALateStatusOfTheSameTask(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.running()
		w.update(1, resources.Failed, "u2")
		w.update(1, resources.Running, "u1")
		w.said("save", "ACKNOWLEDGE s.web-0.run.n.1 u2", "ACKNOWLEDGE s.web-0.run.n.1 u1")
		w.expect("the task", string(s.Status().Observed.Tasks["web-0"].State), string(resources.Failed))
	})
}

func TestACommandThatFailsGivesTheOfferBackAndDelaysTheStep(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.set("command", "its jars are not here")
		w.offer("o1", 200)
		w.said("save", "command web-0", "save", "SUPPRESS", "DECLINE [o1] for 1h0m0s")
		w.expect("the step", w.step(s, "web-0:launch"), "delayed attempt 1 failed: its jars are not here; again in 500ms")
		w.set("command", "")
		pass(600 * time.Millisecond)
		w.said("REVIVE") // which drops the hour's filter
		w.offer("o2", 200)
		w.said("save", "command web-0", "ACCEPT [o2] LAUNCH s.web-0.run.n.2", "SUPPRESS")
	})
}

func TestARefusedAcceptDelaysTheStepLongerEachTime(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.set("ACCEPT", "the offer is gone")
		for i, pause := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second} {
			w.offer("o1", 200)
			w.said("save", "command web-0", fmt.Sprintf("ACCEPT [o1] LAUNCH s.web-0.run.n.%d", i+1), "save", "SUPPRESS", "DECLINE [o1] for 1h0m0s")
			w.expect("the step", w.step(s, "web-0:launch"), fmt.Sprintf("delayed attempt %d failed: service s/web: ACCEPT: the offer is gone; again in %s", i+1, pause))
			pass(pause + 600*time.Millisecond)
			w.said("REVIVE")
		}
	})
}

func TestACommandThatTakesTooLongGivesItsOfferBack(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.hold = make(chan struct{})
		w.offer("o1", 200)
		w.said("save", "command web-0")
		if !s.Status().Busy {
			t.Error("a command is being built and the service is not busy")
		}
		pass(commandTime)
		w.said("SUPPRESS", "save", "DECLINE [o1] for 1h0m0s")
		if s.Status().Busy {
			t.Error("nothing is under way and the service is busy")
		}
	})
}

func TestAPodWithAVolumeIsLaunchedWhereItsReservationIs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.volume = "data"
		s, stop := w.begin()
		defer stop()
		w.offer("o1", 200)
		w.said("save", "command web-0", "ACCEPT [o1] RESERVE CREATE LAUNCH s.web-0.run.n.1", "SUPPRESS")
		w.expect("its place", string(s.Status().Observed.Reserved["web-0"].Agent), "a1")
		w.update(1, resources.Failed, "u1")
		pass(time.Second)
		w.lines = nil
		w.offerOf("a2", "o2", 200)
		w.said("DECLINE [o2] for 2s")
		w.expect("no offer", s.Status().NoOffer, "web-0 fits in none of 1 offers\n  web-0 does not fit on agent a2\n    its volume and reservation are on agent a1, this is an offer of agent a2\n")
	})
}

func TestAnOfferOfTheRestOfARunningPodsReservationDoesNotMoveIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.volume = "data"
		s, stop := w.begin()
		defer stop()
		w.offer("o1", 200)
		synctest.Wait()
		w.update(1, resources.Running, "")
		synctest.Wait()
		was := s.Status().Observed.Reserved["web-0"].Volume
		left := resources.Resource{Name: resources.Mem, Scalar: 1000, Reservation: &resources.Reservation{Role: "s/web", Labels: map[string]string{operators.LabelPod: "web-0"}}}
		w.events <- resources.Event{Type: resources.EventOffers, Offers: []resources.Offer{{ID: "o2", Agent: "a1", Resources: resources.Resources{left}}}}
		synctest.Wait()
		if got := s.Status().Observed.Reserved["web-0"].Volume; got != was || got != "s.web-0.data" {
			t.Errorf("its volume was %q and is %q", was, got)
		}
	})
}

func TestTheStartIsMeasuredOnceAndARecoveryDoesNotChangeIt(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.offer("o1", 200)
		pass(3 * time.Second)
		w.update(1, resources.Running, "")
		pass(time.Minute)
		w.update(1, resources.Failed, "")
		pass(time.Second)
		w.offer("o2", 200)
		pass(time.Second)
		w.update(2, resources.Running, "")
		pass(time.Second)
		if st := s.Status(); st.Plan.Summary() != plan.Done || st.Took != 3*time.Second {
			t.Errorf("the start took %s:\n%s", st.Took, st.Plan)
		}
	})
}

func TestTheSpecOfARevisionIsKeptWhileATaskIsOfItAndNoLonger(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.running()
		bigger := spec
		bigger.MemoryMiB = 512
		s.Want(bigger, true)
		w.said("KILL s.web-0.run.n.1")
		w.update(1, resources.Killed, "")
		w.said("save", "REVIVE")
		w.offer("o2", 200)
		synctest.Wait()
		specs := func() string {
			var r record
			if err := json.Unmarshal(w.stored, &r); err != nil {
				t.Fatal(err)
			}
			_, old := r.Specs[spec.PodRevision()]
			_, now := r.Specs[bigger.PodRevision()]
			return fmt.Sprintf("old %v, new %v", old, now)
		}
		w.expect("at the change", specs(), "old true, new true")
		pod := w.pod(bigger, 0)
		w.events <- resources.Event{Type: resources.EventUpdate, Status: &resources.TaskStatus{Task: pod.TaskID(2, "n"), State: resources.Failed, At: time.Now(), Labels: pod.Labels(2)}}
		pass(time.Second)
		w.offer("o3", 200)
		synctest.Wait()
		w.expect("at the next launch", specs(), "old false, new true")
	})
}

func TestAnAdminCallThatFailsIsRetriedAfterAPauseAndItsErrorIsInThePlan(t *testing.T) {
	inWorld(t, func(w *world) {
		w.admin = true
		s, stop := w.begin()
		defer stop()
		w.set("admin", "the broker is away")
		w.offer("o1", 200)
		w.said("save", "command web-0", "ACCEPT [o1] LAUNCH s.web-0.run.n.1", "SUPPRESS")
		w.update(1, resources.Running, "u1")
		w.said("ACKNOWLEDGE s.web-0.run.n.1 u1", "save", "admin ensure topics", "save")
		w.expect("the step", w.step(s, "topics:web"), "delayed attempt 1 failed: the broker is away; again in 500ms")
		pass(600 * time.Millisecond)
		w.said("save", "admin ensure topics", "save")
		w.expect("the step", w.step(s, "topics:web"), "delayed attempt 2 failed: the broker is away; again in 1s")
		w.set("admin", "")
		pass(time.Second)
		w.said("save", "admin ensure topics", "save")
		w.expect("the step", w.step(s, "topics:web"), "complete ")
		if a := s.Status().Observed.Attempts["topics:web"]; a.Failures != 0 || a.Total != 3 {
			t.Errorf("a success forgets no failure: %+v", a)
		}
	})
}

func TestAnAdminCallWhoseAttemptCannotBeStoredIsNotMade(t *testing.T) {
	inWorld(t, func(w *world) {
		w.admin, w.done = true, true
		s, stop := w.begin()
		defer stop()
		w.running()
		w.mu.Lock()
		w.done = false // somebody deleted a topic
		w.mu.Unlock()
		w.set("save", "the disk is full")
		s.Wake()
		w.said("save")
		if a := s.Status().Observed.Attempts["topics:web"]; a.Total != 0 {
			t.Errorf("an attempt that was not stored is counted: %+v", a)
		}
		w.set("save", "")
		s.Wake()
		w.said("save", "admin ensure topics", "save")
	})
}

func TestChangedIsCalledWhenThePlanChangesAndNotOtherwise(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.start(func() { w.say("changed") })
		defer stop()
		w.said("SUBSCRIBE s.web as s/web", "RECONCILE []", "REVIVE", "changed")
		pass(time.Minute)
		s.Wake()
		w.said()
		w.offer("o1", 200)
		w.said("save", "command web-0", "ACCEPT [o1] LAUNCH s.web-0.run.n.1", "SUPPRESS", "changed")
		w.update(1, resources.Running, "u1")
		w.said("ACKNOWLEDGE s.web-0.run.n.1 u1", "changed")
		w.update(1, resources.Running, "u2")
		pass(time.Minute)
		w.said("ACKNOWLEDGE s.web-0.run.n.1 u2")
	})
}

func TestTheStopOfSeveralPodsIsOnePlanThatDoesNotChangeByItself(t *testing.T) {
	inWorld(t, func(w *world) {
		three := spec
		three.Size = 3
		s, stop := w.start(func() { w.say("changed") })
		defer stop()
		s.Want(three, true)
		for i := range 3 {
			w.updateOf(i, 1, resources.Running, "")
		}
		pass(time.Second)
		s.Want(three, false)
		synctest.Wait()
		w.mu.Lock()
		w.lines = nil
		w.mu.Unlock()
		pass(1900 * time.Millisecond)
		w.said()
		var ids []string
		for _, step := range s.Status().Plan.Phases[0].Steps {
			ids = append(ids, step.ID)
		}
		w.expect("the steps", strings.Join(ids, " "), "web-0:stop web-1:stop web-2:stop")
	})
}

func TestRunSaysWhyItCannotGoOn(t *testing.T) {
	inWorld(t, func(w *world) {
		s, err := New(Config{Spec: spec, Kind: w, Master: w, Store: w, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		w.set("SUBSCRIBE", "not the leader")
		w.expect("a refused subscription", fmt.Sprint(s.Run(context.Background())), "subscribe service s/web: not the leader")
		w.set("SUBSCRIBE", "")
		close(w.events)
		w.expect("a stream that ended", fmt.Sprint(s.Run(context.Background())), "service s/web: the master ended its stream")
		w.stored = []byte("{")
		_, err = New(Config{Spec: spec, Kind: w, Master: w, Store: w})
		w.expect("a broken record", fmt.Sprint(err), "read the record of service s/web: unexpected end of JSON input")
	})
}
