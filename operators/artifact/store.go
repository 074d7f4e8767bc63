package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weir-project/weir/internal/fault"
)

// Store keeps verified sets of jars. Several processes may use one directory at the same time.
type Store struct {
	Dir      string         // DefaultDir, or another
	Maven    string         // path of mvn; empty: FindMaven
	JavaHome string         // which Maven runs on
	Progress func(Progress) // may be nil; called by the goroutine that called Resolve and the one that reads Maven's output, never both at once
}

// Progress is one step of a resolution.
type Progress struct {
	Set   Set
	Phase string // look, download, verify, ready
	Done  int    // jars
	Total int
}

func (p Progress) String() string {
	return fmt.Sprintf("%s: %s %d of %d jars", p.Set, p.Phase, p.Done, p.Total)
}

// Jars is a verified set.
type Jars struct {
	Set Set
	Dir string
}

// Jar is the path of the jar whose name begins with prefix and a version ("jamm" finds jamm-0.4.0.jar).
func (j Jars) Jar(prefix string) (string, error) {
	all, _, err := j.Set.lock()
	if err != nil {
		return "", err
	}
	for _, jar := range all {
		rest, ok := strings.CutPrefix(jar.Name, prefix+"-")
		if ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return filepath.Join(j.Dir, jar.Name), nil
		}
	}
	return "", fmt.Errorf("find jar %s of %s: none of its %d jars is named so", prefix, j.Set, len(all))
}

// DefaultDir is weir/artifacts under XDG_CACHE_HOME, else ~/.cache.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fault.New("E-CACHE", "find", "the cache directory", fault.Cause(err), fault.Hint("set XDG_CACHE_HOME"))
	}
	return filepath.Join(dir, "weir", "artifacts"), nil
}

// Resolve brings a set onto this machine and returns where it is. It is quick where the set is there: sizes and times are compared with the
// marker of the last full check, and only where they differ are the jars hashed again.
func (s Store) Resolve(ctx context.Context, set Set) (Jars, error) {
	want, key, err := set.lock()
	if err != nil {
		return Jars{}, err
	}
	dir := filepath.Join(s.Dir, set.file()+"-"+key)
	jars := Jars{Set: set, Dir: dir}
	if marked(dir, want) {
		s.tell(set, "ready", len(want), len(want))
		return jars, nil
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return Jars{}, fmt.Errorf("make the artifact cache: %w", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(s.Dir, "."+set.file()+".lock"))
	if err != nil {
		return Jars{}, err
	}
	defer unlock()
	if !marked(dir, want) { // another process may have made it while this one waited
		if err := s.make(ctx, set, dir, want); err != nil {
			return Jars{}, err
		}
	}
	s.tell(set, "ready", len(want), len(want))
	return jars, nil
}

func (s Store) make(ctx context.Context, set Set, dir string, want []Jar) (err error) {
	if _, err := os.Stat(dir); err == nil {
		s.tell(set, "verify", 0, len(want))
		if err := verify(dir, want, "rm -r "+dir+" and run the same command again"); err != nil {
			return err
		}
		return mark(dir, want)
	}
	tmp, err := os.MkdirTemp(s.Dir, "."+set.file()+"-")
	if err != nil {
		return fmt.Errorf("make a directory for %s: %w", set, err)
	}
	// What a killed process leaves is swept by the next.
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	jars := filepath.Join(tmp, "jars")
	if err := s.maven(ctx, set, tmp, jars, len(want)); err != nil {
		return err
	}
	s.tell(set, "verify", 0, len(want))
	fix := "the jar in Maven's local repository was changed: remove it under ~/.m2/repository and run the same command again"
	if err := verify(jars, want, fix); err != nil {
		return err
	}
	if err := mark(jars, want); err != nil {
		return err
	}
	if err := os.Rename(jars, dir); err != nil {
		return fmt.Errorf("put %s in place: %w", set, err)
	}
	return s.sweep(set)
}

// sweep removes what killed processes left of this set; the caller holds its lock, so that nobody is at work on it.
func (s Store) sweep(set Set) error {
	old, err := filepath.Glob(filepath.Join(s.Dir, "."+set.file()+"-*"))
	if err != nil {
		return fmt.Errorf("look for leftovers of %s: %w", set, err)
	}
	for _, o := range old {
		if err := os.RemoveAll(o); err != nil {
			return fmt.Errorf("remove leftovers of %s: %w", set, err)
		}
	}
	return nil
}

func (s Store) tell(set Set, phase string, done, total int) {
	if s.Progress != nil {
		s.Progress(Progress{Set: set, Phase: phase, Done: done, Total: total})
	}
}

const markerName = ".verified.json"

// stamp is what a jar looked like when it was hashed.
type stamp struct {
	Size int64     `json:"size"`
	Time time.Time `json:"time"`
}

// mark writes the marker; the directory's jars have just been verified.
func mark(dir string, want []Jar) error {
	stamps := map[string]stamp{}
	for _, j := range want {
		info, err := os.Stat(filepath.Join(dir, j.Name))
		if err != nil {
			return fmt.Errorf("mark %s as verified: %w", dir, err)
		}
		stamps[j.Name] = stamp{Size: info.Size(), Time: info.ModTime()}
	}
	data, err := json.Marshal(stamps)
	if err != nil {
		return fmt.Errorf("mark %s as verified: %w", dir, err)
	}
	tmp := filepath.Join(dir, markerName+".tmp")
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return fmt.Errorf("mark %s as verified: %w", dir, err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, markerName)); err != nil {
		return fmt.Errorf("mark %s as verified: %w", dir, err)
	}
	return nil
}

// marked reports whether the directory is as it was when it was verified, every jar of it and no other.
func marked(dir string, want []Jar) bool {
	data, err := os.ReadFile(filepath.Join(dir, markerName))
	if err != nil {
		return false
	}
	var stamps map[string]stamp
	if json.Unmarshal(data, &stamps) != nil || len(stamps) != len(want) {
		return false
	}
	for _, j := range want {
		info, err := os.Stat(filepath.Join(dir, j.Name))
		if err != nil || info.Size() != stamps[j.Name].Size || !info.ModTime().Equal(stamps[j.Name].Time) {
			return false
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.jar"))
	return err == nil && len(found) == len(want)
}

// lockFile takes an exclusive lock across processes; it ends with the process that held it.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil // closing gives the lock up
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for another process that resolves the same artifacts (%s): %w", path, context.Cause(ctx)), f.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
