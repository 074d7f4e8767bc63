package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
)

// Error tells what was attempted, on what, through which broker, and why it failed. Err is Kafka's code (kafka-go's Error) or the network's error.
type Error struct {
	Op        string // "fetch", "produce", "commit the transaction" …
	Topic     string // empty where the request names none
	Partition int32
	Subject   string // a transactional id, where the request has one
	Broker    string // "broker 1 at 127.0.0.1:19310", or "the bootstrap servers"
	Err       error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("kafka: " + e.Op)
	if e.Topic != "" {
		fmt.Fprintf(&b, " %s/%d", e.Topic, e.Partition)
	}
	if e.Subject != "" {
		fmt.Fprintf(&b, " of %s", e.Subject)
	}
	if e.Broker != "" {
		b.WriteString(" through " + e.Broker)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	return b.String()
}

// Unwrap gives the cause: errors.Is(err, kafkago.ProducerFenced) works.
func (e *Error) Unwrap() error { return e.Err }

// code is Kafka's code in err, 0 without one.
func code(err error) kafkago.Error {
	var c kafkago.Error
	if errors.As(err, &c) {
		return c
	}
	return 0
}

// retriable says that asking again may succeed. An error of the network is retriable; the caller's own end is not.
func retriable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var m malformed
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &m) || errors.As(err, &certificate) {
		return false
	}
	c := code(err)
	if c == 0 {
		return true // the network: a broker that restarts, a connection that was closed
	}
	switch c {
	case kafkago.ConcurrentTransactions, kafkago.BrokerNotAvailable, kafkago.ReplicaNotAvailable:
		return true
	case kafkago.InvalidMessage: // a broken batch stays broken
		return false
	}
	return c.Temporary()
}

// moved says that the leader of a partition is not where the cache says.
func moved(err error) bool {
	switch code(err) {
	case kafkago.UnknownTopicOrPartition, kafkago.LeaderNotAvailable, kafkago.NotLeaderForPartition, kafkago.ReplicaNotAvailable,
		kafkago.BrokerNotAvailable, kafkago.FencedLeaderEpoch, kafkago.UnknownLeaderEpoch, kafkago.KafkaStorageError, kafkago.ListenerNotFound, 0:
		return true
	}
	return false
}

// coordinatorMoved says that the transaction coordinator is not where the cache says.
func coordinatorMoved(err error) bool {
	switch code(err) {
	case kafkago.GroupLoadInProgress, kafkago.GroupCoordinatorNotAvailable, kafkago.NotCoordinatorForGroup, kafkago.BrokerNotAvailable, 0:
		return true
	}
	return false
}

// fencing says that the producer's epoch is no longer the transactional id's.
func fencing(err error) bool {
	switch code(err) {
	case kafkago.InvalidProducerEpoch, kafkago.ProducerFenced:
		return true
	}
	return false
}

// malformed is an answer, a batch or a record that cannot be read: asking again gives the same.
type malformed struct{ error }

func (m malformed) Unwrap() error { return m.error }

// codeError is nil for code 0.
func codeError(c int16) error {
	if c == 0 {
		return nil
	}
	return kafkago.Error(c)
}
