package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/internal/fault"
)

const (
	streamName   = "weir-state"
	deleteHeader = "Weir-Deleted"
	// headerRoom is what a message may have beyond its value: the headers of expected sequence and deletion.
	headerRoom = 4 << 10
	// callTimeout bounds one call to the embedded server. A call takes as long as an fsync; one that exceeds this has an
	// unknown outcome.
	callTimeout = 10 * time.Second
	// readTimeout bounds the wait for the next message of a log that lies on this disk.
	readTimeout = 3 * time.Second
	storeLimit  = 4 << 30
)

// journal is the embedded log: one server, one connection inside the process, one stream.
type journal struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
}

// openJournal opens the log in dir, and makes it only if made does not say that it was made before.
func openJournal(dir string, made bool, log *slog.Logger) (j *journal, err error) {
	j = &journal{}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.close())
			j = nil
		}
	}()
	relay := &relay{log: log}
	j.server, err = server.NewServer(&server.Options{
		ServerName:        "weir",
		DontListen:        true, // reachable in process only; no monitoring, route, leafnode, websocket or MQTT port either
		NoSigs:            true,
		JetStream:         true,
		StoreDir:          dir,
		SyncAlways:        true, // the default acknowledges up to two minutes before it writes
		JetStreamMaxStore: storeLimit,
		// Nothing is stored in memory, but zero would mean a share of the host's.
		JetStreamMaxMemory: 1 << 20,
	})
	if err != nil {
		return j, fmt.Errorf("make embedded log: %w", err)
	}
	j.server.SetLoggerV2(relay, false, false, false)
	j.server.Start()
	if !j.server.ReadyForConnections(callTimeout) || !j.server.JetStreamEnabled() {
		return j, fmt.Errorf("start embedded log: it did not come up: %s", relay.last())
	}
	j.conn, err = nats.Connect("", nats.InProcessServer(j.server), nats.Name("weir"), nats.NoReconnect())
	if err != nil {
		return j, fmt.Errorf("reach embedded log: %w", err)
	}
	j.js, err = jetstream.New(j.conn)
	if err != nil {
		return j, fmt.Errorf("reach embedded log: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err = j.checkPresent(ctx, made); err != nil {
		return j, err
	}
	j.stream, err = j.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:              streamName,
		Subjects:          []string{subjectRoot + ">"},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew, // full is an error to the writer, never a loss of the oldest key
		MaxMsgsPerSubject: 1,
		MaxMsgSize:        MaxValue + headerRoom,
		Replicas:          1,
		AllowDirect:       false, // a direct get may answer from a member that is behind
		AllowRollup:       false,
	})
	if err != nil {
		return j, fmt.Errorf("open stream of embedded log: %w", err)
	}
	return j, nil
}

// checkPresent refuses a log that was made before and is not found: the embedded server drops what it cannot recover and starts
// empty, and an empty store would have everything launched a second time (I3).
func (j *journal) checkPresent(ctx context.Context, made bool) error {
	_, err := j.js.Stream(ctx, streamName)
	switch {
	case err == nil || errors.Is(err, jetstream.ErrStreamNotFound) && !made:
		return nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fault.New("E-STORE-LOST", "recover", "embedded log",
			fault.Causef("it was made here before, and its files are missing or damaged"),
			fault.Hint("restore the store's directory from a backup, or move it away to start empty and adopt what runs"))
	}
	return fmt.Errorf("look for stream of embedded log: %w", err)
}

// append writes one message if the stream's last sequence is at.
func (j *journal) append(ctx context.Context, at Revision, e Entry) (Revision, error) {
	m := nats.NewMsg(subjectOf(e.Key))
	m.Data = e.Value
	if e.Deleted {
		m.Header.Set(deleteHeader, "1")
	}
	ack, err := j.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequence(uint64(at)), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return Revision(ack.Sequence), nil
}

// read calls apply for every key's last message after revision from, and returns the last revision of the stream, which may
// be that of a message that is gone.
func (j *journal) read(ctx context.Context, from Revision, apply func(Entry)) (Revision, error) {
	info, err := j.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("examine embedded log: %w", err)
	}
	last := Revision(info.State.LastSeq)
	if info.State.Msgs == 0 || last <= from {
		return last, nil
	}
	consumer, err := j.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   uint64(from) + 1,
	})
	if err != nil {
		return 0, fmt.Errorf("read embedded log from %d: %w", from+1, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return 0, fmt.Errorf("read embedded log from %d: %w", from+1, err)
	}
	defer messages.Stop()
	for {
		m, err := next(ctx, messages)
		if err != nil {
			return 0, fault.New("E-STORE-READ", "read", fmt.Sprintf("embedded log from %d to %d", from+1, last), fault.Cause(err),
				fault.Hint("if its files are damaged, restore the store's directory from a backup"))
		}
		meta, err := m.Metadata()
		if err != nil {
			return 0, fmt.Errorf("read embedded log: message on %s: %w", m.Subject(), err)
		}
		apply(Entry{Key: keyOf(m.Subject()), Value: m.Data(), Revision: Revision(meta.Sequence.Stream),
			Deleted: m.Headers().Get(deleteHeader) != ""})
		if meta.NumPending == 0 {
			return last, nil
		}
	}
}

// next waits no longer than one call may take: a damaged block makes the server silent, not loud.
func next(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return messages.Next(jetstream.NextContext(ctx))
}

func (j *journal) close() error {
	if j.conn != nil {
		j.conn.Close()
	}
	if j.server == nil {
		return nil
	}
	j.server.Shutdown()
	j.server.WaitForShutdown()
	return nil
}

func isWrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// relay passes the embedded server's warnings and errors to a logger, and remembers the last for the error of Open.
type relay struct {
	log  *slog.Logger
	mu   sync.Mutex // guards text
	text string
}

func (r *relay) say(level slog.Level, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if level >= slog.LevelError {
		r.mu.Lock()
		r.text = text
		r.mu.Unlock()
	}
	r.log.Log(context.Background(), level, "embedded log", "event", text)
}

func (r *relay) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.text == "" {
		return "it gave no reason"
	}
	return r.text
}

func (r *relay) Noticef(string, ...any) {} // start, stop and recovery: the store's own callers tell those
func (r *relay) Debugf(string, ...any)  {}
func (r *relay) Tracef(string, ...any)  {}

func (r *relay) Warnf(format string, args ...any)  { r.say(slog.LevelWarn, format, args...) }
func (r *relay) Errorf(format string, args ...any) { r.say(slog.LevelError, format, args...) }

// Fatalf does not end the process, as the server's own logger would: Open reports the failure.
func (r *relay) Fatalf(format string, args ...any) { r.say(slog.LevelError, format, args...) }
