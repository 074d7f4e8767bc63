package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weir-project/weir/internal/link"
)

// maxStill is how long the loop may take to answer before the server counts as dead.
const maxStill = 5 * time.Second

// serveHealth answers GET /health without authentication and nothing else (I9): whether the loop that owns all state still turns.
func (d *Daemon) serveHealth(ctx context.Context) error {
	l, err := link.Listen(ctx, d.cfg.Health, true)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", d.health)
	srv := &http.Server{Handler: mux, ReadTimeout: maxStill, WriteTimeout: 2 * maxStill, IdleTimeout: maxStill, MaxHeaderBytes: 8 << 10}
	d.group.Go("health", func(ctx context.Context) error {
		context.AfterFunc(ctx, func() { srv.Close() }) //nolint:errcheck // who asks is told by the closed connection
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
		return nil
	})
	d.cfg.Log.Info("liveness", "url", fmt.Sprintf("http://%s/health", l.Addr()))
	return nil
}

func (d *Daemon) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), maxStill)
	defer cancel()
	if _, err := ask(ctx, d, func() (bool, error) { return true, nil }); err != nil {
		http.Error(w, "the server does not answer: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok") //nolint:errcheck // the client is gone, and there is nobody else to tell
}
