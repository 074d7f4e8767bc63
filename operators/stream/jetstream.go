package stream

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/operators/nats"
	"github.com/weir-project/weir/pipelines/physical"
)

// duplicates is the window of the streams that are made here; the server keeps the ids of that time in memory.
const duplicates = 2 * time.Minute

// reach is what a connector's config says of a service of the stack, where it names one.
type reach struct {
	Connector string
	Service   string `json:"service"`
	Stream    string `json:"stream"`
	Subject   string `json:"subject"`
}

// reached are the services that a node's connector names, not through a channel.
func reached(n physical.Node) (r reach, ok bool) {
	var cfg struct {
		Connector string          `json:"connector"`
		Config    json.RawMessage `json:"config"`
	}
	if n.Op != physical.OpRead && n.Op != physical.OpWrite || json.Unmarshal(n.Config, &cfg) != nil || len(cfg.Config) == 0 {
		return r, false // what cannot be read is told by who opens it
	}
	if json.Unmarshal(cfg.Config, &r) != nil {
		return r, false
	}
	r.Connector = cfg.Connector
	return r, r.Service != "" && r.Connector == "nats"
}

// Services are the services that a graph's channels and connectors use, and the Kafkas that hold its logs, sorted.
func Services(g *physical.Graph) []string {
	found := map[string]bool{}
	for _, c := range g.Channels {
		switch {
		case c.Kafka != nil:
			found[c.Kafka.Service] = true
		case c.Cassandra != nil:
			found[c.Cassandra.Service] = true
		}
	}
	for _, s := range g.Stages {
		for _, f := range s.Fragments {
			if f.Home != "" {
				found[f.Home] = true
			}
			for _, n := range f.Nodes {
				if r, ok := reached(n); ok {
					found[r.Service] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// addStreams gives each NATS the streams that the graph's sinks write. One that is only read is its writer's, who may be anybody.
func addStreams(out map[string]Resources, g physical.Graph) {
	for _, s := range g.Stages {
		for _, f := range s.Fragments {
			for _, n := range f.Nodes {
				r, ok := reached(n)
				if !ok || n.Op != physical.OpWrite {
					continue
				}
				res := out[r.Service]
				res.Streams = addStream(res.Streams, r)
				out[r.Service] = res
			}
		}
	}
}

func addStream(all []operators.JetStream, r reach) []operators.JetStream {
	i := slices.IndexFunc(all, func(s operators.JetStream) bool { return s.Name == r.Stream })
	if i < 0 {
		return append(all, operators.JetStream{Name: r.Stream, Subjects: []string{r.Subject}, Duplicates: duplicates})
	}
	if !slices.Contains(all[i].Subjects, r.Subject) {
		all[i].Subjects = append(all[i].Subjects, r.Subject)
		slices.Sort(all[i].Subjects)
	}
	return all
}

// share gives each stream its part of what the service may hold: beyond it the oldest messages go, and a reader who had not read them says so.
func share(streams []operators.JetStream, service operators.ServiceSpec) {
	for i := range streams {
		streams[i].MaxBytes = nats.StoreBytes(service) / int64(len(streams)+1)
	}
	slices.SortFunc(streams, func(a, b operators.JetStream) int { return compare(a.Name, b.Name) })
}

func streamsMissing(want []operators.JetStream, f operators.Fact[map[string]operators.JetStream]) string {
	if !f.Known {
		return "its streams are unknown: " + f.Reason()
	}
	return few(missing(want, func(s operators.JetStream) string { return s.Name }, f.Value))
}
