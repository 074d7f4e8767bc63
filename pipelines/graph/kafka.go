package graph

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
)

// KafkaConfig is the config of the kafka connector: a topic that others made. Either Servers or Service is set.
type KafkaConfig struct {
	Topic    string        `json:"topic"`
	Servers  []string      `json:"servers,omitempty"` // host:port
	Service  string        `json:"service,omitempty"` // stack/service: its address and login are found when the pipeline runs
	Earliest bool          `json:"earliest,omitempty"`
	Stop     bool          `json:"stop,omitempty"`
	For      time.Duration `json:"for,omitempty"`
	Key      []string      `json:"key,omitempty"`
}

var (
	topicName   = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`) // Kafka's own rule
	hostPort    = regexp.MustCompile(`^[a-zA-Z0-9.\[\]:-]+:[0-9]{1,5}$`)
	serviceName = regexp.MustCompile(`^[a-z][a-z0-9-]*/[a-z][a-z0-9-]*$`)
)

func (i *infer) readKafka() *Node {
	cfg, format, ok := i.kafka()
	if !ok {
		return nil
	}
	read := physical.ReadConfig{Connector: "kafka", Format: format}
	if read.Schema, ok = i.topicSchema(format); !ok || !i.topicEnds(&cfg) {
		return nil
	}
	if read.Config, ok = i.encode(cfg); !ok {
		return nil
	}
	read.Bounded = cfg.Stop || cfg.For > 0
	return i.read(read)
}

// topicEnds reads where a run begins, and where it ends if it does.
func (i *infer) topicEnds(cfg *KafkaConfig) bool {
	if v := i.t.Config.Get("auto_offset_reset_config"); v != nil {
		if v.Text != "earliest" && v.Text != "latest" {
			i.fail(v.Pos, "E-TYPE", fmt.Sprintf("a run begins at the earliest or the latest record, not at %q", v.Text), "write `auto_offset_reset_config: earliest`")
			return false
		}
		cfg.Earliest = v.Text == "earliest"
	}
	if v := i.t.Config.Get("max_read_time_seconds"); v != nil {
		cfg.For = time.Duration(v.Int) * time.Second
	}
	if v := i.t.Weir.Get("until"); v != nil {
		if v.Text != "end" {
			i.fail(v.Pos, "E-TYPE", fmt.Sprintf("until: %q is not known", v.Text), "write `until: end`: stop where the topic ended when the run began")
			return false
		}
		cfg.Stop = true
	}
	return true
}

func (i *infer) topicSchema(format string) (column.Schema, bool) {
	if format == "json" {
		return i.schemaOf("schema", "topic")
	}
	if v := i.t.Config.Get("schema"); v != nil {
		i.fail(v.Pos, "E-FORMAT", "a schema is for the format JSON; values of other formats are one column, payload", "write `format: JSON`, or leave the schema out")
		return column.Schema{}, false
	}
	kind := column.Bytes
	if v := i.t.Config.Get("format"); v != nil && strings.EqualFold(v.Text, "STRING") {
		kind = column.String
	}
	return column.Schema{Fields: []column.Field{{Name: "payload", Kind: kind}}}, true
}

func (i *infer) writeKafka() *Node {
	cfg, format, ok := i.kafka()
	if !ok {
		return nil
	}
	in := i.input()
	if format == "raw" && (len(in.Fields) != 1 || in.Fields[0].Kind != column.String && in.Fields[0].Kind != column.Bytes) {
		return i.fail(i.t.Pos, "E-SCHEMA", fmt.Sprintf("in this format a row's only field, of strings or bytes, is the value; these have %d (fields: %s)", len(in.Fields), strings.Join(in.Names(), ", ")), "write `format: JSON`, or make one field with MapToFields first")
	}
	names, _ := dsl.Names(i.t.Weir.Get("key")) // its shape was checked
	for _, n := range names {
		if _, ok := i.column(n.Name, n.Pos, in); !ok {
			return nil
		}
		cfg.Key = append(cfg.Key, n.Name)
	}
	raw, ok := i.encode(cfg)
	if !ok {
		return nil
	}
	return &Node{Op: physical.OpWrite, Config: physical.WriteConfig{Connector: "kafka", Format: format, Config: raw}, Out: in}
}

// kafka reads what both directions have.
func (i *infer) kafka() (cfg KafkaConfig, format string, ok bool) {
	topic, servers := i.t.Config.Get("topic"), i.t.Config.Get("bootstrap_servers")
	if cfg.Topic = topic.Text; !topicName.MatchString(cfg.Topic) {
		i.fail(topic.Pos, "E-NAME", fmt.Sprintf("%q is not a topic's name", cfg.Topic), "letters, digits, dots, dashes and underscores, at most 249 of them")
		return cfg, "", false
	}
	if serviceName.MatchString(servers.Text) {
		cfg.Service = servers.Text
	} else {
		for _, s := range strings.Split(servers.Text, ",") {
			s = strings.TrimSpace(s)
			if !hostPort.MatchString(s) {
				i.fail(servers.Pos, "E-ADDRESS", fmt.Sprintf("%q is not host:port, and not STACK/SERVICE either", s), "write `bootstrap_servers: 127.0.0.1:9092`, or name the Kafka of a running stack: `flights/events`")
				return cfg, "", false
			}
			cfg.Servers = append(cfg.Servers, s)
		}
	}
	format, ok = i.wireFormat()
	return cfg, format, ok
}

func (i *infer) wireFormat() (string, bool) {
	v := i.t.Config.Get("format")
	if v == nil {
		return "raw", true
	}
	switch strings.ToUpper(v.Text) {
	case "RAW", "STRING":
		return "raw", true
	case "JSON":
		return "json", true
	case "AVRO", "PROTO":
		i.fail(v.Pos, "E-NOTYET", v.Text+" comes in a later version", "read JSON, STRING or RAW")
	default:
		i.fail(v.Pos, "E-FORMAT", fmt.Sprintf("unknown format %q (formats: JSON, RAW, STRING)", v.Text), "use one of these")
	}
	return "", false
}

// Services lists the stack services, as stack/service, that the plain connectors of a graph name.
func Services(g *physical.Graph) []string {
	var out []string
	for _, st := range g.Stages {
		for _, f := range st.Fragments {
			for _, n := range f.Nodes {
				var cfg struct {
					Connector string
					Config    struct{ Service string }
				}
				if json.Unmarshal(n.Config, &cfg) == nil && cfg.Config.Service != "" && (cfg.Connector == "kafka" || cfg.Connector == "nats") && !slices.Contains(out, cfg.Config.Service) {
					out = append(out, cfg.Config.Service)
				}
			}
		}
	}
	return out
}
