package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/weir-project/weir/pipelines/codec"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// Config is the connector's part of ReadConfig and WriteConfig, as pipelines/graph writes it.
type Config struct {
	Service     string `json:"service,omitempty"`     // of the stack; or
	URL         string `json:"url,omitempty"`         // nats://host:port or tls://host:port, without a password
	Credentials string `json:"credentials,omitempty"` // absolute path: a .creds file, or lines `user: NAME` and `password: TEXT`
	Stream      string `json:"stream"`
	Subject     string `json:"subject,omitempty"`       // reading: a filter; writing: where to
	AtLeastOnce bool   `json:"at_least_once,omitempty"` // the stage asks for no more
}

// ParseConfig reads it.
func ParseConfig(raw json.RawMessage) (c Config, err error) {
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("read config of a nats connector: %w", err)
	}
	if c.Stream == "" || (c.Service == "") == (c.URL == "") {
		return c, fmt.Errorf("read config of a nats connector: it needs a stream (%q) and one of service (%q) and url (%q)", c.Stream, c.Service, c.URL)
	}
	return c, nil
}

// Connection is that of a url with its credentials file; of a service somebody else knows it.
func (c Config) Connection() (physical.Connection, error) {
	out := physical.Connection{Operator: "nats", Servers: strings.Split(c.URL, ",")}
	if c.Credentials == "" {
		return out, nil
	}
	info, err := os.Stat(c.Credentials)
	if err != nil {
		return out, fmt.Errorf("read credentials: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return out, fmt.Errorf("read credentials: %s has mode %#o, so others can read it; run `chmod 600 %s`", c.Credentials, mode, c.Credentials)
	}
	data, err := os.ReadFile(c.Credentials)
	if err != nil {
		return out, fmt.Errorf("read credentials: %w", err)
	}
	if strings.Contains(string(data), "-----BEGIN NATS USER JWT-----") {
		out.Credentials = data
		return out, nil
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.TrimSpace(value); key {
		case "user":
			out.User = value
		case "password":
			out.Password = value
		}
	}
	if out.User == "" || out.Password == "" {
		return out, fmt.Errorf("read credentials: %s is no .creds file and has no lines `user: NAME` and `password: TEXT`", c.Credentials)
	}
	return out, nil
}

// rowDecoder appends one message's row.
type rowDecoder func(b *column.Batch, data []byte) error

func newDecoder(format string, s column.Schema) (rowDecoder, error) {
	switch format {
	case "json":
		return codec.NewJSONDecoder(s).Decode, nil
	case "csv":
		d := codec.NewCSVDecoder(s, 0)
		return func(b *column.Batch, data []byte) error { return d.Decode(b, data, 1) }, nil
	case "raw", "text":
		if err := oneField(format, s); err != nil {
			return nil, err
		}
		return func(b *column.Batch, data []byte) error {
			b.Cols[0].AppendString(data)
			b.N++
			return nil
		}, nil
	}
	return nil, unknownFormat(format)
}

// rowEncoder appends one row's message.
type rowEncoder func(dst []byte, b *column.Batch, row int) []byte

func newEncoder(format string, s column.Schema) (rowEncoder, error) {
	switch format {
	case "json":
		return codec.NewJSONEncoder(s).AppendRow, nil
	case "csv":
		e := codec.NewCSVEncoder(s, 0)
		return func(dst []byte, b *column.Batch, row int) []byte {
			dst = e.AppendRow(dst, b, row)
			if n := len(dst); n > 0 && dst[n-1] == '\n' { // a message has no line end
				dst = dst[:n-1]
			}
			return dst
		}, nil
	case "raw", "text":
		if err := oneField(format, s); err != nil {
			return nil, err
		}
		return func(dst []byte, b *column.Batch, row int) []byte { return append(dst, b.Cols[0].At(row)...) }, nil
	}
	return nil, unknownFormat(format)
}

func unknownFormat(format string) error {
	return fmt.Errorf("unknown format %q (formats: json, csv, raw, text)", format)
}

func oneField(format string, s column.Schema) error {
	if len(s.Fields) == 1 && (s.Fields[0].Kind == column.String || s.Fields[0].Kind == column.Bytes) {
		return nil
	}
	return errors.New("a " + format + " message is one string or bytes field, and the rows have " + strings.Join(s.Names(), ", "))
}
