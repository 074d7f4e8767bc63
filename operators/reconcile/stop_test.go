package reconcile

import (
	"testing"
	"time"

	"github.com/weir-project/weir/operators/plan"
	"github.com/weir-project/weir/resources"
)

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
