package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
)

// The names in the state directory that both the CLI and the server know.
const (
	addressFile = "server.json" // written by the server when it listens
	adminBundle = "admin.pem"   // made by the first command
)

// address is what the server writes when it listens.
type address struct {
	URL string `json:"url"`
	PID int    `json:"pid"`
}

// local is the state directory as the CLI uses it.
type local struct {
	dir  string
	root *os.Root
}

func (a *app) openLocal() (*local, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	root, err := security.OpenStateDir(dir)
	if err != nil {
		return nil, err
	}
	return &local{dir: dir, root: root}, nil
}

// existing opens the state directory for a command that only looks, or stops: it makes none. Where there is none the error is errNoServer.
func (a *app) existing() (*local, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, noServer(&local{dir: dir}, errNoServer)
	}
	return a.openLocal()
}

func (l *local) path(name string) string { return filepath.Join(l.dir, name) }

// credentials finds the administrator's certificate, made by the first command that needs one.
func (l *local) credentials() (security.Bundle, error) {
	b, err := security.LoadBundle(l.root, adminBundle)
	if err == nil {
		if end, err := b.NotAfter(); err == nil && time.Until(end) > 24*time.Hour {
			return b, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return b, err
	}
	ca, err := security.EnsureCA(l.root, "weir", time.Now(), rand.Reader)
	if err != nil {
		return b, fmt.Errorf("make the certificate authority: %w", err)
	}
	now := time.Now()
	b, err = ca.Issue(security.Request{CN: "admin", Role: security.RoleAdmin, NotBefore: now, NotAfter: now.AddDate(1, 0, 0), ClientAuth: true})
	if err != nil {
		return b, fmt.Errorf("issue the administrator's certificate: %w", err)
	}
	return b, b.Save(l.root, adminBundle)
}

// client connects to the server that the state directory names; errNoServer when none was ever started there.
func (l *local) client() (*api.Client, error) {
	data, err := l.root.ReadFile(addressFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNoServer
	}
	if err != nil {
		return nil, fmt.Errorf("read the server's address: %w", err)
	}
	var at address
	if err := json.Unmarshal(data, &at); err != nil {
		return nil, fault.New("E-STATE", "read the server's address", "from "+l.path(addressFile), fault.Cause(err), fault.Hint("delete that file; the server writes it when it starts"))
	}
	b, err := l.credentials()
	if err != nil {
		return nil, err
	}
	config, err := security.ClientTLS(b, "weir-server")
	if err != nil {
		return nil, err
	}
	return api.NewClient(at.URL, config), nil
}

var errNoServer = errors.New("no server was started here")

// server returns a client of a server that answers, or an error that says how to start one.
func (a *app) server(ctx context.Context) (*api.Client, error) {
	l, err := a.existing()
	if err != nil {
		return nil, err
	}
	defer l.root.Close()
	c, err := l.client()
	if err == nil {
		c, err = l.ping(ctx, c)
	}
	if err != nil {
		return nil, noServer(l, err)
	}
	return c, nil
}

// ping asks for the version. Where nobody answers the server may have been killed a moment ago: its supervisor brings it back and is waited for, and a
// dead supervisor is started again (C3). The client that it returns is that of the server that answers, whose address may be another.
func (l *local) ping(ctx context.Context, c *api.Client) (*api.Client, error) {
	err := version(ctx, c)
	if err == nil {
		return c, l.superviseAgain()
	}
	if !errors.Is(err, api.ErrUnreachable) || !l.wanted() {
		return nil, err
	}
	if err := l.supervise(); err != nil {
		return nil, err
	}
	return l.awaitServer(ctx) // which may listen elsewhere now
}

// noServer says why no server answers, and what starts one; any other error is returned as it is.
func noServer(l *local, err error) error {
	refuse := func(cause error, hint string) error {
		return fault.NotFound("E-NO-SERVER", "reach the server", "of "+l.dir, fault.Cause(cause), fault.Hint(hint))
	}
	switch {
	case errors.Is(err, errNoServer):
		return refuse(err, "weir up STACK.yaml starts one")
	case !errors.Is(err, api.ErrUnreachable):
		return err
	case l.stopped():
		return refuse(fmt.Errorf("%w: it was stopped by weir down", errStopped), "weir up STACK.yaml starts it again, with its data")
	}
	return refuse(err, "weir up STACK.yaml starts it again; "+l.path("server.log")+" says why it ended")
}

var errStopped = errors.New("no server runs")
