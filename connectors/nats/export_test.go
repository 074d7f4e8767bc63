package nats

import (
	"context"
	"time"

	"github.com/weir-project/weir/connectors"
)

// Floor is the stream's last sequence that the sink knows of.
func (o *Outbox) Floor() uint64 { return o.now.floor }

// Pause has f called before each message, and the sink believe in another duplicate window.
func (o *Outbox) Pause(window time.Duration, f func()) { o.window, o.pause = window, f }

// Reconnects counts how often the connection was made anew.
func (c *Client) Reconnects() uint64 { return c.conn.Stats().Reconnects }

// QuietPull has a reader with a filter ask for more as after a request that brought nothing, and says up to where it would take silence for the end.
// forget: its consumer is gone by then.
func QuietPull(ctx context.Context, r connectors.Reader, forget bool) (upTo uint64, err error) {
	in := r.(*reader)
	if err := in.open(ctx); err != nil {
		return 0, err
	}
	if forget {
		if err := in.client.js.DeleteConsumer(ctx, in.stream, in.consumer); err != nil {
			return 0, err
		}
	}
	in.request, in.got = 1, 0
	err = in.pull(ctx)
	return in.upTo, err
}

// Strict has a sink that was opened for at_least_once keep to its window.
func (o *Outbox) Strict(c Config) { o.config = c }

// Passing reports whether a reader or a sink goes on after an error.
func Passing(err error) bool { return passing(err) }
