package graph

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/dsl"
	"github.com/weir-project/weir/pipelines/physical"
)

// NatsConfig is the config of the nats connector in ReadConfig and WriteConfig. Exactly one of Service and URL is set.
type NatsConfig struct {
	Service     string `json:"service,omitempty"`
	URL         string `json:"url,omitempty"`
	Credentials string `json:"credentials,omitempty"` // absolute path (C11)
	Stream      string `json:"stream"`
	Subject     string `json:"subject,omitempty"`
	AtLeastOnce bool   `json:"at_least_once,omitempty"`
}

var (
	natsFormats = []string{"json", "csv", "raw", "text"}
	streamName  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	natsToken   = regexp.MustCompile(`^[^\s.*>\x00-\x1f\x7f]+$`)
)

func (i *infer) readNats() *Node {
	cfg, format, ok := i.nats(true)
	if !ok {
		return nil
	}
	read := physical.ReadConfig{Connector: "nats", Format: format}
	switch format {
	case "raw":
		read.Schema = column.Schema{Fields: []column.Field{{Name: "payload", Kind: column.Bytes}}}
	case "text":
		read.Schema = column.Schema{Fields: []column.Field{{Name: "line", Kind: column.String}}}
	default:
		if read.Schema, ok = i.schema(); !ok {
			return nil
		}
	}
	if read.Config, ok = i.encode(cfg); !ok {
		return nil
	}
	return i.read(read)
}

func (i *infer) writeNats() *Node {
	cfg, format, ok := i.nats(false)
	if !ok {
		return nil
	}
	in := i.input()
	if format == "raw" || format == "text" {
		if len(in.Fields) != 1 || in.Fields[0].Kind != column.String && in.Fields[0].Kind != column.Bytes {
			return i.fail(i.t.Pos, "E-SCHEMA", fmt.Sprintf("a %s message is one string or bytes field, these rows have %s", format, strings.Join(in.Names(), ", ")), "make one field with MapToFields first, or write `format: json`")
		}
	}
	cfg.AtLeastOnce = i.stage.Guarantee == "at_least_once"
	raw, ok := i.encode(cfg)
	if !ok {
		return nil
	}
	return &Node{Op: physical.OpWrite, Config: physical.WriteConfig{Connector: "nats", Format: format, Config: raw}, Out: in}
}

// nats reads what both directions have.
func (i *infer) nats(reads bool) (NatsConfig, string, bool) {
	var cfg NatsConfig
	before := len(i.errs)
	i.natsPlace(&cfg)
	s := i.t.Config.Get("stream")
	if cfg.Stream = s.Text; !streamName.MatchString(s.Text) {
		i.fail(s.Pos, "E-NAME", fmt.Sprintf("the stream %q is not of the form A-Z, a-z, 0-9, _ or -, at most 64", s.Text), "write the stream's name; `nats stream ls` lists them")
	}
	if v := i.t.Config.Get("subject"); v != nil {
		cfg.Subject = v.Text
		i.natsSubject(v, reads)
	}
	format := "json"
	if v := i.t.Config.Get("format"); v != nil {
		if format = v.Text; !slices.Contains(natsFormats, format) {
			i.fail(v.Pos, "E-FORMAT", fmt.Sprintf("unknown format %q (formats: %s)", format, strings.Join(natsFormats, ", ")), fault.DidYouMean(format, natsFormats, "write `format: json`"))
		}
	}
	return cfg, format, len(i.errs) == before
}

// natsPlace reads service, or url and credentials.
func (i *infer) natsPlace(cfg *NatsConfig) {
	service, at, login := i.t.Config.Get("service"), i.t.Config.Get("url"), i.t.Config.Get("credentials")
	switch {
	case service != nil && at != nil:
		i.fail(at.Pos, "E-FIELD", "service and url both say where the NATS is", "keep one of them")
	case service == nil && at == nil:
		i.fail(i.t.Pos, "E-REQUIRED", "it names no NATS", "add `service: NAME`, a nats of the stack, or `url: nats://127.0.0.1:4222`")
	case service != nil && i.env.Services == nil:
		cfg.Service = service.Text // STACK/SERVICE in `weir run`; where a pipeline is validated alone, its stack is not known
	case service != nil:
		cfg.Service = i.service(i.t.Config, i.t.Pos, i.what(), "nats")
	default:
		cfg.URL = at.Text
		i.natsURL(at)
	}
	if login == nil {
		return
	}
	if service != nil {
		i.fail(login.Pos, "E-FIELD", "a service's credentials are made and kept by the stack", "remove credentials")
		return
	}
	if cfg.Credentials = login.Text; !filepath.IsAbs(cfg.Credentials) {
		cfg.Credentials = filepath.Join(i.env.Dir, cfg.Credentials)
	}
}

func (i *infer) natsURL(v *dsl.Value) {
	u, err := url.Parse(v.Text)
	switch {
	case err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || u.Path != "" && u.Path != "/":
		i.fail(v.Pos, "E-URL", "it is no address of a NATS", "write `url: nats://127.0.0.1:4222`, or tls://host:port")
	case u.User != nil:
		// The line is not shown: plans and logs are no places for a password.
		i.errs.Add(fault.Invalid("E-SECRET", "build", i.what(), fault.AtPos(v.Pos), fault.Causef("a password or token stands in the url"),
			fault.Hint("put `user: NAME` and `password: TEXT` into a file of mode 0600 and write `credentials: FILE`")))
	}
}

func (i *infer) natsSubject(v *dsl.Value, wildcards bool) {
	tokens := strings.Split(v.Text, ".")
	for n, t := range tokens {
		wild := t == "*" || t == ">" && n == len(tokens)-1
		if wild && !wildcards {
			i.fail(v.Pos, "E-SUBJECT", fmt.Sprintf("the subject %q has a wildcard: a message has one subject", v.Text), "write the subject to publish to")
			return
		}
		if !wild && !natsToken.MatchString(t) {
			i.fail(v.Pos, "E-SUBJECT", fmt.Sprintf("the subject %q is not tokens with dots between them", v.Text), "write it as `orders.new`")
			return
		}
	}
}
