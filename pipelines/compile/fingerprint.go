package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/weir-project/weir/pipelines/physical"
)

// fingerprint is the SHA-256 of what positions and state depend on: the sources by path and by what they read, and of each
// combine its path, keys, window and aggregates; and the sinks that act after the commit, whose entries wait in the outbox under their
// path. A filter, a renamed map, a pace or a lateness is not in it: the state goes on.
func fingerprint(f physical.Fragment) string {
	return hex.EncodeToString(hash(strings.Join(stateful(f), "\n")))
}

func hash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// stateful lists, a line each, what the fingerprint is made of; Compatible compares the lines to say what changed.
func stateful(f physical.Fragment) []string {
	var out []string
	for _, n := range f.Nodes {
		switch n.Op {
		case physical.OpRead:
			var c physical.ReadConfig
			if json.Unmarshal(n.Config, &c) != nil {
				out = append(out, fmt.Sprintf("source %s: %s", n.Path, n.Config))
				continue
			}
			out = append(out, fmt.Sprintf("source %s: %s%s %s %s", n.Path, c.Connector, c.Channel, c.Format, c.Config))
		case physical.OpWrite:
			if f.Outbox == "" {
				continue
			}
			var c physical.WriteConfig
			if json.Unmarshal(n.Config, &c) != nil || c.Channel == "" && c.Connector != "file" && c.Connector != "nats" {
				continue
			}
			out = append(out, fmt.Sprintf("sink %s: %s%s", n.Path, c.Connector, c.Channel))
		case physical.OpCombine:
			var c physical.CombineConfig
			if json.Unmarshal(n.Config, &c) != nil {
				out = append(out, fmt.Sprintf("combine %s: %s", n.Path, n.Config))
				continue
			}
			out = append(out, fmt.Sprintf("combine %s: group_by %s", n.Path, keyKinds(n, c)),
				fmt.Sprintf("window of %s: %s", n.Path, windowText(c.Window)))
			for _, a := range c.Aggregates {
				out = append(out, fmt.Sprintf("aggregate %s of %s: %s(%s) %s %s", a.Name, n.Path, a.Fn, a.Expr, a.Language, a.Kind))
			}
		}
	}
	return out
}

func keyKinds(n physical.Node, c physical.CombineConfig) string {
	out := make([]string, len(c.GroupBy))
	for i, name := range c.GroupBy {
		out[i] = name
		if at := n.Out.Index(name); at >= 0 {
			out[i] += " " + n.Out.Fields[at].Kind.String()
		}
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func windowText(w physical.WindowConfig) string {
	out := w.Type
	if w.Size > 0 {
		out += " " + span(w.Size)
	}
	if w.Period > 0 {
		out += " every " + span(w.Period)
	}
	if w.Offset > 0 {
		out += " offset " + span(w.Offset)
	}
	if w.Gap > 0 {
		out += " gap " + span(w.Gap)
	}
	return out
}

// span prints a duration without its zeros: 1h, not 1h0m0s.
func span(d time.Duration) string {
	out := d.String()
	if strings.HasSuffix(out, "m0s") {
		out = strings.TrimSuffix(out, "0s")
	}
	if strings.HasSuffix(out, "h0m") {
		out = strings.TrimSuffix(out, "0m")
	}
	return out
}
