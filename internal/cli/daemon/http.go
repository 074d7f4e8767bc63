package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/physical"
	"github.com/weir-project/weir/stacks"
)

// routes is the server's whole API. Every route names the roles that may call it: a route without them cannot be written down here.
func (d *Daemon) routes() http.Handler {
	mux := http.NewServeMux()
	admin := func(pattern string, f func(*http.Request) (any, error)) {
		mux.Handle(pattern, d.only(answer(f), security.RoleAdmin))
	}
	admin("GET /v1/version", func(*http.Request) (any, error) {
		return api.Version{Build: d.cfg.Build, PID: d.pid, Term: d.term}, nil
	})
	admin("GET /v1/stacks", func(r *http.Request) (any, error) { return ask(r.Context(), d, d.listStacks) })
	admin("GET /v1/agents", func(r *http.Request) (any, error) { return d.listAgents(r.Context()) })
	admin("GET /v1/stacks/{name}", func(r *http.Request) (any, error) {
		return ask(r.Context(), d, func() (api.Stack, error) { return d.getStack(r.PathValue("name")) })
	})
	admin("PUT /v1/stacks/{name}", d.putStack)
	admin("POST /v1/plan", d.postPlan)
	admin("POST /v1/scale", d.postScale)
	admin("POST /v1/pause", d.postPause)
	admin("POST /v1/pipelines/{name}/rerun", func(r *http.Request) (any, error) {
		return change(r.Context(), d, func(ctx context.Context) (api.Apply, error) { return d.rerun(ctx, r.PathValue("name")) })
	})
	admin("GET /v1/channels/{pipeline}/{channel}", func(r *http.Request) (any, error) {
		return ask(r.Context(), d, func() (api.Channel, error) { return d.channel(r.PathValue("pipeline"), r.PathValue("channel")) })
	})
	admin("GET /v1/connections/{stack}/{service}", func(r *http.Request) (any, error) {
		return ask(r.Context(), d, func() (physical.Connection, error) {
			return d.serviceConnection(r.PathValue("stack"), r.PathValue("service"))
		})
	})
	admin("GET /v1/scaling/{name}", func(r *http.Request) (any, error) {
		return ask(r.Context(), d, func() (api.Scaling, error) { return d.scaling(r.PathValue("name")) })
	})
	admin("GET /v1/why/{kind}/{name}", func(r *http.Request) (any, error) {
		return ask(r.Context(), d, func() (api.Plan, error) { return d.why(r.PathValue("kind"), r.PathValue("name")) })
	})
	admin("GET /v1/logs/{name}", d.getLogs)
	admin("POST /v1/shutdown", d.postShutdown)
	mux.Handle("/v1/agent", d.only(d.master.AgentHandler(), security.RoleAgent))
	mux.Handle("/v1/worker", d.only(http.HandlerFunc(d.workerLink), security.RoleWorker))
	return mux
}

// only lets the named roles in (I9).
func (d *Daemon) only(h http.Handler, roles ...security.Role) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := security.PeerIdentity(r.TLS)
		if err == nil && !id.Is(roles...) {
			err = fault.Denied("E-DENIED", "call "+r.Method+" "+r.URL.Path, "", fault.Causef("%s may not, only %v", id, roles))
		}
		if err != nil {
			refuse(w, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, err error) {
	status, body := api.EncodeFault(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the client is gone, and there is nobody else to tell
}

func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			refuse(w, err)
			return
		}
		body, err := json.Marshal(v)
		if err != nil {
			refuse(w, fmt.Errorf("encode the answer: %w", err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(body) //nolint:errcheck // the client is gone, and there is nobody else to tell
	})
}

// ask runs f on the loop, which owns all state, and returns its answer.
func ask[T any](ctx context.Context, d *Daemon, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	select {
	case d.work <- func() { v, err := f(); done <- result{v, err} }:
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	case <-d.ended:
		var zero T
		return zero, fault.New("E-STOPPING", "ask the server", "", fault.Causef("it is stopping"))
	}
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

// change is ask for what changes something. It runs under the server's context: what was begun is made whole, whatever becomes of its caller.
func change[T any](ctx context.Context, d *Daemon, f func(context.Context) (T, error)) (T, error) {
	return ask(ctx, d, func() (T, error) { return f(d.group.Context()) })
}

// decode reads a request's JSON body; limits come before parsing.
func decode(r *http.Request, v any) error {
	data, err := io.ReadAll(io.LimitReader(r.Body, api.MaxBody+1))
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	if len(data) > api.MaxBody {
		return fault.Invalid("E-SIZE", "read the request", r.URL.Path, fault.Causef("it is longer than %d bytes", api.MaxBody))
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fault.Invalid("E-JSON", "read the request", r.URL.Path, fault.Cause(err))
	}
	return nil
}

// bundleOf reads a stack that was sent, and checks it.
func bundleOf(r *http.Request) (b api.Bundle, resolved *stacks.Resolved, err error) {
	if err := decode(r, &b); err != nil {
		return b, nil, err
	}
	resolved, err = resolve(b)
	return b, resolved, err
}

func (d *Daemon) putStack(r *http.Request) (any, error) {
	b, resolved, err := bundleOf(r)
	if err != nil {
		return nil, err
	}
	if resolved.Stack.Name != r.PathValue("name") {
		return nil, fault.Invalid("E-NAME", "apply stack", resolved.Stack.Name, fault.Causef("it was sent to the name %q", r.PathValue("name")))
	}
	b.Object = nil // only the cluster says what its objects are
	return change(r.Context(), d, func(ctx context.Context) (api.Apply, error) {
		return d.apply(ctx, b, resolved, r.URL.Query().Get("replay"))
	})
}

func (d *Daemon) postPlan(r *http.Request) (any, error) {
	_, resolved, err := bundleOf(r)
	if err != nil {
		return nil, err
	}
	return ask(r.Context(), d, func() (api.Plan, error) { return d.plan(resolved) })
}

func (d *Daemon) postScale(r *http.Request) (any, error) {
	var req api.Scale
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return change(r.Context(), d, func(ctx context.Context) (api.Scaled, error) { return d.scale(ctx, req, "weir scale") })
}

func (d *Daemon) postPause(r *http.Request) (any, error) {
	var req api.Pause
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return change(r.Context(), d, func(ctx context.Context) (api.Apply, error) { return d.pause(ctx, req) })
}

// shutdownRequest is the body of POST /v1/shutdown.
type shutdownRequest struct {
	Purge bool `json:"purge"`
}

// postShutdown stops every stack and then the server. It answers when the last task has ended.
func (d *Daemon) postShutdown(r *http.Request) (any, error) {
	var req shutdownRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	stopped, err := change(r.Context(), d, d.beginShutdown)
	if err != nil {
		return nil, err
	}
	select {
	case <-stopped:
		return api.Apply{}, nil
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
}

func (d *Daemon) getLogs(r *http.Request) (any, error) {
	q := r.URL.Query()
	lines, err := strconv.Atoi(q.Get("lines"))
	if err != nil || lines < 0 || lines > 100000 {
		return nil, fault.Invalid("E-NUMBER", "read logs", r.PathValue("name"), fault.Causef("lines %q is not a number from 0 to 100000", q.Get("lines")))
	}
	from, err := strconv.ParseInt(q.Get("from"), 10, 64)
	if err != nil {
		return nil, fault.Invalid("E-NUMBER", "read logs", r.PathValue("name"), fault.Causef("from %q is not a number", q.Get("from")))
	}
	name, err := ask(r.Context(), d, func() (string, error) { return d.sandboxOf(r.PathValue("name")) })
	if err != nil {
		return nil, err
	}
	return d.readLog(r.PathValue("name"), name, q.Get("file"), lines, from)
}
