package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/weir-project/weir/internal/fault"
)

// MaxBody is the largest request or answer, in bytes.
const MaxBody = 8 << 20

// Client calls a server's API over mTLS.
type Client struct {
	URL  string
	http *http.Client
}

// NewClient makes a client of the server at an address such as https://127.0.0.1:4000.
func NewClient(address string, config *tls.Config) *Client {
	return &Client{URL: address, http: &http.Client{
		Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true},
		Timeout:   30 * time.Second,
	}}
}

// ErrUnreachable says that no server answered: the CLI then starts one or works without.
var ErrUnreachable = errors.New("no server answers")

// Do calls method path; in and out may be nil. An error that the server sent keeps its code, position, hint and exit code.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// What was called and where is said here; the client's own words would say it again.
		var call *url.Error
		if errors.As(err, &call) {
			err = call.Err
		}
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.URL, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, MaxBody+1))
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w at %s: the answer of %s %s broke off: %w", ErrUnreachable, c.URL, method, path, err)
	}
	if len(data) > MaxBody {
		return fmt.Errorf("the answer of %s %s is longer than %d bytes", method, path, MaxBody)
	}
	if res.StatusCode >= 400 {
		return decodeFault(res.StatusCode, data)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decode the answer of %s %s: %w", method, path, err)
	}
	return nil
}

func decodeFault(status int, data []byte) error {
	err, bad := fault.Decode(data)
	if bad != nil || err == nil {
		return fault.New("E-SERVER", "call the server", "", fault.Causef("it answered %d: %s", status, bytes.TrimSpace(data)))
	}
	return err
}

// EncodeFault is the server's side: status and body for an error.
func EncodeFault(err error) (int, []byte) {
	status := map[int]int{
		fault.ExitInvalid: http.StatusUnprocessableEntity, fault.ExitNotFound: http.StatusNotFound, fault.ExitNoFit: http.StatusConflict,
		fault.ExitDenied: http.StatusForbidden, fault.ExitTimedOut: http.StatusGatewayTimeout,
	}[fault.ExitCode(err)]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	data, bad := fault.Encode(err)
	if bad != nil {
		return http.StatusInternalServerError, []byte(bad.Error())
	}
	return status, data
}

// NoTimeout lets a call take as long as its context does, for those that wait for work to end.
func (c *Client) NoTimeout() { c.http.Timeout = 0 }
