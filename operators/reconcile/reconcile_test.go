package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

func TestAServiceThatIsNotWantedKillsItsTasks(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.running()
		s.Want(spec, false)
		w.said("KILL s.web-0.run.n.1")
		w.update(1, resources.Killing, "")
		pass(time.Minute)
		w.said() // it is going: nothing to repeat
		w.update(1, resources.Killed, "u2")
		w.said("save", "ACKNOWLEDGE s.web-0.run.n.1 u2")
		if st := s.Status(); st.Wanted || st.Busy || st.Plan.Summary() != plan.Done {
			t.Errorf("wanted %v, busy %v:\n%s", st.Wanted, st.Busy, st.Plan)
		}
		s.Want(spec, true)
		w.said("REVIVE") // a task that was killed on purpose is not delayed
	})
}

func TestAKillWhoseEffectIsNotSeenIsRepeatedEveryTwoSeconds(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.running()
		s.Want(spec, false)
		w.said("KILL s.web-0.run.n.1")
		pass(1900 * time.Millisecond)
		w.said()
		pass(600 * time.Millisecond)
		w.said("KILL s.web-0.run.n.1")
		pass(1400 * time.Millisecond)
		w.said()
	})
}

func TestALaunchInFlightIsBusyAndIsGivenUpWhenTheServiceIsStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.hold = make(chan struct{})
		w.offer("o1", 200)
		w.said("save", "command web-0")
		s.Want(spec, false)
		w.said("SUPPRESS")
		if !s.Status().Busy {
			t.Error("a launch is being built, and a stop would not wait for it")
		}
		close(w.hold)
		w.said("save", "DECLINE [o1] for 1h0m0s")
		if s.Status().Busy {
			t.Error("nothing was launched and the service is busy")
		}
	})
}

func TestALaunchThatNobodySpokeOfIsBusyUntilItIsHeardOfAndKilled(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.begin()
		defer stop()
		w.offer("o1", 200)
		w.said("save", "command web-0", "ACCEPT [o1] LAUNCH s.web-0.run.n.1", "SUPPRESS")
		s.Want(spec, false)
		w.said()
		if !s.Status().Busy {
			t.Error("a task may come up, and a stop would not wait for it")
		}
		w.update(1, resources.Staging, "")
		w.said("KILL s.web-0.run.n.1")
	})
}

func TestARestartAdoptsWhatRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		_, stop := w.begin()
		w.running()
		stop()
		w.said() // tasks go on without the service
		s, stop := w.start(nil)
		defer stop()
		w.update(1, resources.Running, "") // the answer to its question
		w.said("SUBSCRIBE s.web as s/web", "RECONCILE []")
		pass(time.Minute)
		w.said()
		w.expect("the plan", string(s.Status().Plan.Summary()), string(plan.Done))
	})
}

func TestARestartAsksAboutALaunchThatNobodySpokeOfAndLaunchesAgainWhenItIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		_, stop := w.begin()
		w.offer("o1", 200)
		w.said("save", "command web-0", "ACCEPT [o1] LAUNCH s.web-0.run.n.1", "SUPPRESS")
		stop() // the server dies between the accept and the first status
		s, stop := w.start(nil)
		defer stop()
		w.said("SUBSCRIBE s.web as s/web", "RECONCILE []")
		w.offer("o2", 200)
		w.said("DECLINE [o2] for 1h0m0s") // it may be running: nothing is launched in its place
		pass(2600 * time.Millisecond)
		w.said("RECONCILE [s.web-0.run.n.1]")
		pass(2500 * time.Millisecond)
		w.said("RECONCILE [s.web-0.run.n.1]")
		w.events <- resources.Event{Type: resources.EventUpdate, Status: &resources.TaskStatus{Task: task(1), State: resources.Gone, At: time.Now(), Message: "no agent knows it"}}
		w.said("save")
		w.expect("the step", w.step(s, "web-0:launch"), "delayed attempt 1 failed: GONE, no agent knows it; again in 500ms")
		pass(time.Second)
		w.said("REVIVE")
		w.offer("o3", 200)
		w.said("save", "command web-0", "ACCEPT [o3] LAUNCH s.web-0.run.n.2", "SUPPRESS")
	})
}

func TestATaskOfALostRecordDoesNotHideItsSuccessor(t *testing.T) {
	inWorld(t, func(w *world) {
		s, stop := w.start(nil)
		defer stop()
		w.update(5, resources.Running, "") // the record of attempts one to five is lost
		w.said("SUBSCRIBE s.web as s/web", "RECONCILE []")
		w.update(5, resources.Failed, "u1")
		w.said("ACKNOWLEDGE s.web-0.run.n.5 u1", "REVIVE")
		w.offer("o1", 200)
		w.said("save", "command web-0", "ACCEPT [o1] LAUNCH s.web-0.run.n.6", "SUPPRESS")
		w.update(6, resources.Running, "u2")
		w.said("ACKNOWLEDGE s.web-0.run.n.6 u2")
		w.expect("the plan", string(s.Status().Plan.Summary()), string(plan.Done))
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
