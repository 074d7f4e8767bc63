package daemon

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/process"
)

// AgentDir is the agent's folder in the state directory.
const AgentDir = "agent"

// agentID names this host's agent. Reservations and volumes belong to it, so it never changes.
const agentID = "local"

// startAgent runs this host's agent in this process; it speaks over the same mTLS link as one elsewhere would (C3).
func (d *Daemon) startAgent() error {
	now := time.Now()
	b, err := d.ca.Issue(security.Request{CN: agentID, Role: security.RoleAgent, NotBefore: now, NotAfter: now.AddDate(1, 0, 0), ClientAuth: true})
	if err != nil {
		return fmt.Errorf("issue the agent's certificate: %w", err)
	}
	config, err := security.ClientTLS(b, "weir-server")
	if err != nil {
		return err
	}
	dir := filepath.Join(d.cfg.State, AgentDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the agent's folder: %w", err)
	}
	options, freePorts := corner(d.install, dir)
	have, err := process.Detect(options)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name the agent: %w", err)
	}
	agent, err := process.New(process.Config{Dir: dir, ID: agentID, Hostname: host, Resources: have, Attributes: map[string]string{resources.FreePorts: freePorts}, Shim: d.cfg.Shim, Log: d.cfg.Log,
		Dial: func(ctx context.Context) (*link.Conn, error) {
			return link.Dial(ctx, d.url+"/v1/agent", config, nil, link.Options{})
		}})
	if err != nil {
		return err
	}
	d.group.Go("agent", agent.Run)
	return nil
}

// corner gives each installation of a host ports and addresses of its own, so that two of them seldom choose the same. Every port that
// needs no privilege and is not used for outgoing connections may be fixed by a stack.
func corner(install, dir string) (o process.HostOptions, freePorts string) {
	h := fnv.New32a()
	h.Write([]byte(install)) //nolint:errcheck // a hash takes everything
	n := h.Sum32()
	return process.HostOptions{Dir: dir, Ports: resources.Range{Begin: 1024, End: 32767}, Addresses: fmt.Sprintf("127.%d.%d", 20+(n>>8)%200, (n>>16)%250)},
		fmt.Sprint(20000 + n%80*100)
}

// agents are those that registered.
func (d *Daemon) agents() ([]resources.AgentInfo, error) {
	snap, err := d.master.Snapshot(d.group.Context())
	if err != nil {
		return nil, fmt.Errorf("list the agents: %w", err)
	}
	var out []resources.AgentInfo
	for _, a := range snap.Agents {
		out = append(out, a.Info)
	}
	return out, nil
}
