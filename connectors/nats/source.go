package nats

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// TimeHeader holds a row's event time, microseconds since 1970, where it is not the time at which the server took the message.
const TimeHeader = "Weir-Time"

// Source reads one stream, or the messages of it whose subject matches a filter, for ever.
type Source struct {
	client *Client
	config Config
	format string
	schema column.Schema
}

// NewSource makes a source. It asks the server nothing, and does not close the client.
func NewSource(c *Client, cfg physical.ReadConfig) (*Source, error) {
	config, err := ParseConfig(cfg.Config)
	if err != nil {
		return nil, err
	}
	if _, err := newDecoder(cfg.Format, cfg.Schema); err != nil {
		return nil, fmt.Errorf("open nats source %s: %w", config.Stream, err)
	}
	return &Source{client: c, config: config, format: cfg.Format, schema: cfg.Schema}, nil
}

// Splits: a stream has one order and is one split.
func (s *Source) Splits(ctx context.Context) ([]connectors.Split, error) {
	var info *jetstream.StreamInfo
	err := retry(ctx, func() (err error) {
		info, err = s.client.stream(ctx, s.config.Stream)
		return err
	})
	if err == nil {
		err = readable(info)
	}
	if err != nil {
		return nil, fmt.Errorf("nats stream %s: %w", s.config.Stream, err)
	}
	id := s.config.Stream
	if s.config.Subject != "" {
		id += "/" + s.config.Subject
	}
	return []connectors.Split{{ID: id}}, nil
}

// readable refuses a stream whose messages go when somebody else has read them: no position in it can be read again.
func readable(info *jetstream.StreamInfo) error {
	if info.Config.Retention == jetstream.LimitsPolicy {
		return nil
	}
	return &lasting{fmt.Errorf("stream %s has retention %s: a message is gone when a consumer has acknowledged it, so that nothing could be read again; make one with retention limits that sources it: `nats stream add NAME --source %s`",
		info.Config.Name, info.Config.Retention, info.Config.Name)}
}

// Open starts after from. It asks the server nothing: the first Read does.
func (s *Source) Open(_ context.Context, split connectors.Split, from checkpoint.Position) (connectors.Reader, error) {
	decode, err := newDecoder(s.format, s.schema)
	if err != nil {
		return nil, err
	}
	if from.Offset < 0 {
		return nil, fmt.Errorf("open nats split %s: the position %d is negative", split.ID, from.Offset)
	}
	return &reader{client: s.client, stream: s.config.Stream, filter: s.config.Subject, next: uint64(from.Offset) + 1, made: from.State, decode: decode}, nil
}

// Close releases nothing: the client is the caller's, and readers own what they opened.
func (s *Source) Close() error { return nil }

// madeAt identifies a stream among those of its name.
func madeAt(info *jetstream.StreamInfo) string { return info.Created.UTC().Format(time.RFC3339Nano) }
