package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/nats"
)

// Nats is how a NATS is reached: mutual TLS, then a password.
type Nats struct {
	Address  string // host:port
	TLS      *tls.Config
	User     string
	Password string
}

// natsTimeout bounds one call and its answer.
const natsTimeout = 3 * time.Second

// NatsCredentials are made once for a service and kept sealed (C1).
type NatsCredentials struct {
	Password string `json:"password"` // of nats.ClientUser
	Hash     string `json:"hash"`     // bcrypt of it
}

// NewNatsCredentials draws them.
func NewNatsCredentials(random io.Reader) (NatsCredentials, error) {
	c := NatsCredentials{Password: security.Password(random)}
	var err error
	c.Hash, err = security.Bcrypt(c.Password)
	return c, err
}

// Secrets are what the server's files hold: a certificate for the address of its placement.
func (c NatsCredentials) Secrets(ca *security.CA, pod string, at operators.Placement, now time.Time) (nats.Secrets, error) {
	b, err := service(ca, pod, security.RoleNats, at, now)
	return nats.Secrets{PasswordHash: c.Hash, NodePEM: b.JavaPEM(), CAPEM: b.CAPEM}, err
}

// connect opens a connection for one call. It logs in within 2 ms.
func (n Nats) connect() (*natsgo.Conn, jetstream.JetStream, error) {
	conn, err := natsgo.Connect("tls://"+n.Address, natsgo.Name("weir-server"), natsgo.UserInfo(n.User, n.Password), natsgo.Secure(n.TLS),
		natsgo.Timeout(natsTimeout), natsgo.NoReconnect())
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(natsTimeout))
	if err != nil {
		conn.Close()
	}
	return conn, js, err
}

func (n Nats) failed(what string, err error) error {
	return fmt.Errorf("%s of nats at %s as %q: %w", what, n.Address, n.User, err)
}

// Observe reads what Decide wants to know, at a time that the caller took before.
func (n Nats) Observe(ctx context.Context, now time.Time) operators.NatsFacts {
	conn, js, err := n.connect()
	if errors.Is(err, natsgo.ErrAuthorization) {
		return operators.NatsFacts{Answers: operators.Know(false, now), Streams: operators.Unknown[map[string]operators.JetStream](err.Error())}
	}
	if err != nil {
		return unknownNats(n.failed("ask", err))
	}
	defer conn.Close()
	if _, err := js.AccountInfo(ctx); err != nil { // the login is taken before the streams are recovered
		return unknownNats(n.failed("ask the JetStream", err))
	}
	f := operators.NatsFacts{Answers: operators.Know(true, now)}
	streams := map[string]operators.JetStream{}
	list := js.ListStreams(ctx)
	for info := range list.Info() {
		streams[info.Config.Name] = readStream(info.Config)
	}
	if err := list.Err(); err != nil {
		f.Streams = operators.Unknown[map[string]operators.JetStream](n.failed("list the streams", err).Error())
		return f
	}
	f.Streams = operators.Know(streams, now)
	return f
}

func unknownNats(err error) operators.NatsFacts {
	return operators.NatsFacts{Answers: operators.Unknown[bool](err.Error()), Streams: operators.Unknown[map[string]operators.JetStream](err.Error())}
}

func readStream(c jetstream.StreamConfig) operators.JetStream {
	return operators.JetStream{Name: c.Name, Subjects: c.Subjects, MaxBytes: c.MaxBytes, Duplicates: c.Duplicates, Retention: c.Retention.String()}
}

// EnsureStreams makes the streams that are missing, and gives those that are there the subjects and the duplicate window that they lack. It takes
// nothing away and changes no limit.
func (n Nats) EnsureStreams(ctx context.Context, streams []operators.JetStream) error {
	conn, js, err := n.connect()
	if err != nil {
		return n.failed("make streams", err)
	}
	defer conn.Close()
	for _, want := range streams {
		if err := ensureStream(ctx, js, want); err != nil {
			return n.failed("make stream "+want.Name, err)
		}
	}
	return nil
}

func ensureStream(ctx context.Context, js jetstream.JetStream, want operators.JetStream) error {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: want.Name, Subjects: want.Subjects, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			MaxBytes: want.MaxBytes, Duplicates: want.Duplicates, Replicas: 1,
		})
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
		s, err = js.Stream(ctx, want.Name) // somebody else made it meanwhile
	}
	if err != nil {
		return err
	}
	have := s.CachedInfo().Config
	if want.Differs(readStream(have)) == "" {
		return nil
	}
	for _, subject := range want.Subjects {
		if !slices.ContainsFunc(have.Subjects, func(p string) bool { return operators.MatchSubject(p, subject) }) {
			have.Subjects = append(have.Subjects, subject)
		}
	}
	have.Duplicates = max(have.Duplicates, want.Duplicates)
	_, err = js.UpdateStream(ctx, have)
	return err
}
