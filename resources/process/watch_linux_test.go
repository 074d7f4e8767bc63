package process

import (
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-project/weir/resources/agent"
)

// TestATaskIsWatchedWithoutInotifyToo moves the shim's folder away before it is watched: the open folder still works, its path, which
// inotify wants, does not. It stands for a host that gives no more inotify instances.
func TestATaskIsWatchedWithoutInotifyToo(t *testing.T) {
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
	if err := os.Mkdir(before, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(before)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(before, after); err != nil {
		t.Fatal(err)
	}
	standIn := exec.Command("sleep", "600") // for the shim
	if err := standIn.Start(); err != nil {
		t.Fatal(err)
	}
	defer standIn.Wait() // it is killed below
	defer standIn.Process.Kill()
	id, err := identify(standIn.Process.Pid, boot)
	if err != nil {
		t.Fatal(err)
	}
	stopRead, stopWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stopRead.Close()
	defer stopWrite.Close()
	told := make(chan seen, 4)
	w := &watcher{task: "t.1", root: root, boot: boot, shim: id, log: slog.New(slog.DiscardHandler), tell: func(s seen) { told <- s },
		outOfMemory: func() bool { return false }, leave: func() {}, stopFD: int(stopRead.Fd()), inotify: -1}
	record, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(after, "pid.json"), record, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); w.run() }()
	if s := <-told; s.observation == nil || s.observation.Event != agent.ProcessStarted {
		t.Errorf("told %+v", s.observation)
	}
	// It has looked, and sleeps: only the next look can see this.
	if err := os.WriteFile(filepath.Join(after, ".e"), []byte(`{"code":3,"began":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(after, ".e"), filepath.Join(after, "exit.json")); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-told:
		if !s.ended || s.observation == nil || s.observation.Event != agent.ExitedBad || s.observation.ExitCode != 3 {
			t.Errorf("told %+v", s.observation)
		}
	case <-time.After(20 * time.Second):
		t.Error("the end was not seen")
	}
	<-done
}
