package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
)

// Revision numbers the writes of a whole store, from 1; 0 is the empty store.
type Revision uint64

// Entry is one key's last write.
type Entry struct {
	Key      string
	Value    []byte
	Revision Revision // of this write
	Deleted  bool     // the key is gone; only Watch tells such entries
}

// ErrStale refuses a write that was decided on an older state. It says nothing about which key changed: any did.
//
//	var stale store.ErrStale
//	if errors.As(err, &stale) { … read and decide again … }
type ErrStale struct {
	At  Revision // at which the writer decided
	Now Revision // of the last write
}

// Error tells both revisions.
func (e ErrStale) Error() string {
	return fmt.Sprintf("decided at revision %d, and the store is at %d: read and decide again", e.At, e.Now)
}

// ErrClosed is returned after Close.
var ErrClosed = errors.New("store is closed")

// Config has the optional settings of a store.
type Config struct {
	Log *slog.Logger // warnings and errors of the embedded log; nil drops them
}

// Store is the control state. Its methods may be called by several goroutines.
type Store struct {
	log     *slog.Logger
	journal *journal
	lock    *os.File
	root    *os.Root

	// writing is held for the length of one write, before mu; reads don't wait for it.
	writing sync.Mutex
	closed  bool
	unsure  bool                // a write's outcome is unknown: the view must be read again before the next one
	graves  map[string]Revision // deletions whose message still stands in the stream

	mu       sync.RWMutex // guards the view: what follows
	revision Revision
	entries  map[string]Entry
	watchers map[*watcher]struct{}
	stop     chan struct{} // closed by Close
	watching sync.WaitGroup
}

// Open opens the store in a directory, which is made (0700) where it is missing. One process has a store open at a time; a
// second one gets fault.Denied with the first one's process id.
func Open(dir string) (*Store, error) { return OpenConfig(dir, Config{}) }

// OpenConfig is Open with settings.
func OpenConfig(dir string, config Config) (s *Store, err error) {
	s = &Store{
		log: config.Log, graves: map[string]Revision{}, entries: map[string]Entry{},
		watchers: map[*watcher]struct{}{}, stop: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store %s: %w", dir, errors.Join(err, s.release()))
			s = nil
		}
	}()
	if s.root, err = security.OpenStateDir(dir); err != nil {
		return s, err
	}
	if s.lock, err = takeLock(s.root); err != nil {
		return s, err
	}
	made, mark, err := readMark(s.root)
	if err != nil {
		return s, err
	}
	if s.journal, err = openJournal(dir, made, s.log); err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err = s.follow(ctx); err != nil {
		return s, err
	}
	if now := s.Revision(); now < mark {
		return s, fault.New("E-STORE-LOST", "recover", "embedded log",
			fault.Causef("it ends at revision %d, and it was at %d before: its files are damaged", now, mark),
			fault.Hint("restore the store's directory from a backup, or move it away to start empty and adopt what runs"))
	}
	if err = writeMark(s.root, s.Revision()); err != nil {
		return s, err
	}
	s.bury(ctx, 0)
	return s, nil
}

// Close ends the watches and the embedded log. It may be called again.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	// Under mu, so that every Watch either is waited for or sees that the store is closed.
	s.mu.Lock()
	close(s.stop)
	s.mu.Unlock()
	s.watching.Wait()
	err := writeMark(s.root, s.Revision())
	if err = errors.Join(err, s.release()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// release gives back what Open took, in reverse: the lock goes last, so that the next process finds a log at rest.
func (s *Store) release() error {
	var err error
	if s.journal != nil {
		err = s.journal.close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	if s.root != nil {
		err = errors.Join(err, s.root.Close())
	}
	return err
}

// Revision is that of the last write of any key. Read it before the values that a decision stands on.
func (s *Store) Revision() Revision {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// Get returns a key's value and the revision of the write that made it. The value is the caller's own.
func (s *Store) Get(key string) (value []byte, rev Revision, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.entries[key]
	return bytes.Clone(e.Value), e.Revision, ok
}

// List returns the entries at and below a prefix, by whole segments (an empty prefix means all), sorted by key, together as
// they were at one moment.
func (s *Store) List(prefix string) []Entry {
	entries, _ := s.Snapshot(prefix)
	return entries
}

// Snapshot is List with the revision of the whole store at the same moment, which is what a write decided on it must name.
func (s *Store) Snapshot(prefix string) ([]Entry, Revision) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.list(prefix), s.revision
}

// list needs mu.
func (s *Store) list(prefix string) []Entry {
	var found []Entry
	for _, e := range s.entries {
		if under(e.Key, prefix) {
			e.Value = bytes.Clone(e.Value)
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
	return found
}

// Put sets a key if nothing was written since revision at, and returns the new revision once the value is on the disk. Else it
// is ErrStale. Any other error than ErrStale or fault.Invalid means that the outcome was looked for and the write is not there,
// or, if the text says so, that it is not known: read before deciding again.
func (s *Store) Put(ctx context.Context, at Revision, key string, value []byte) (Revision, error) {
	if len(value) > MaxValue {
		return 0, fault.Invalid("E-VALUE", "put", key, fault.Causef("its value has %d bytes, more than %d", len(value), MaxValue))
	}
	return s.write(ctx, at, Entry{Key: key, Value: bytes.Clone(value)})
}

// Delete removes a key if nothing was written since revision at; errors are those of Put. A key that does not exist is removed
// all the same, at the cost of a write.
func (s *Store) Delete(ctx context.Context, at Revision, key string) (Revision, error) {
	return s.write(ctx, at, Entry{Key: key, Deleted: true})
}

// Update reads a key, has change make the new value of the old (nil where there is none), and puts it; when anything was
// written in between it does so again, until ctx ends. It is for a value that depends on its own key alone: a decision on
// several keys is a Snapshot and a Put. A nil or equal new value writes nothing. An error of change is returned as it is.
func (s *Store) Update(ctx context.Context, key string, change func(old []byte) ([]byte, error)) error {
	for {
		s.mu.RLock()
		old, existed := s.entries[key]
		at := s.revision
		s.mu.RUnlock()
		value, err := change(bytes.Clone(old.Value))
		if err != nil || value == nil || existed && bytes.Equal(old.Value, value) {
			return err
		}
		var stale ErrStale
		if _, err = s.Put(ctx, at, key, value); !errors.As(err, &stale) {
			return err
		}
	}
}

func (s *Store) write(ctx context.Context, at Revision, e Entry) (Revision, error) {
	verb := "put"
	if e.Deleted {
		verb = "delete"
	}
	if err := checkKey(e.Key); err != nil {
		return 0, fmt.Errorf("%s: %w", verb, err)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	rev, err := s.commit(ctx, at, e)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", verb, e.Key, err)
	}
	if e.Deleted {
		s.bury(context.WithoutCancel(ctx), maxGraves)
	}
	return rev, nil
}

// commit needs writing.
func (s *Store) commit(ctx context.Context, at Revision, e Entry) (Revision, error) {
	if s.closed {
		return 0, ErrClosed
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	// From here on the caller's ctx does not count: a write that is given up half way would have an unknown outcome.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if s.unsure {
		if err := s.follow(call); err != nil {
			return 0, fmt.Errorf("nothing was written: %w", err)
		}
	}
	if now := s.Revision(); at != now {
		return 0, ErrStale{At: at, Now: now}
	}
	rev, err := s.journal.append(call, at, e)
	if err != nil {
		return s.settle(ctx, at, e, err)
	}
	e.Revision = rev
	s.apply(e)
	return rev, nil
}

// settle finds out what became of a write that was answered with an error or not at all.
func (s *Store) settle(ctx context.Context, at Revision, e Entry, cause error) (Revision, error) {
	s.unsure = true
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if err := s.follow(call); err != nil {
		return 0, fmt.Errorf("the outcome is not known: %w", errors.Join(cause, err))
	}
	now := s.Revision()
	// Nobody else writes to this log, so a write right after at is ours.
	if value, rev, ok := s.Get(e.Key); now == at+1 && ok != e.Deleted && (e.Deleted || rev == now && bytes.Equal(value, e.Value)) {
		return now, nil
	}
	if isWrongSequence(cause) {
		return 0, ErrStale{At: at, Now: now}
	}
	return 0, cause
}

// follow brings the view up to the log. It needs writing (or sole possession, in Open).
func (s *Store) follow(ctx context.Context) error {
	last, err := s.journal.read(ctx, s.Revision(), s.apply)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last < s.revision {
		return fmt.Errorf("the log went back from revision %d to %d", s.revision, last)
	}
	s.revision, s.unsure = last, false
	return nil
}

// apply puts one write into the view and tells the watchers. It needs writing (or sole possession, in Open).
func (s *Store) apply(e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Deleted {
		s.graves[e.Key] = e.Revision
		delete(s.entries, e.Key)
	} else {
		delete(s.graves, e.Key)
		s.entries[e.Key] = e
	}
	s.revision = max(s.revision, e.Revision)
	for w := range s.watchers {
		w.tell(e)
	}
}

// maxGraves is how many deletions may stand in the stream before they are removed.
const maxGraves = 64

// bury removes the messages of deletions from the stream when there are more than keep. The last message of the stream stays,
// so that the stream's last sequence never depends on a message that is gone. It needs writing (or sole possession, in Open). A
// failure costs space, not truth: it is logged and tried again with the next deletion.
func (s *Store) bury(ctx context.Context, keep int) {
	if len(s.graves) <= keep {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for key, rev := range maps.Clone(s.graves) {
		if rev == s.Revision() {
			continue
		}
		if err := s.journal.stream.DeleteMsg(ctx, uint64(rev)); err != nil {
			s.log.Warn("store: remove deletion from log", "key", key, "revision", uint64(rev), "error", err)
			return
		}
		delete(s.graves, key)
	}
}
