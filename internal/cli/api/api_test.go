package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weir-project/weir/internal/fault"
)

// serving is a client of a TLS server that answers with f.
func serving(t *testing.T, f http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewUnstartedServer(f)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return NewClient(srv.URL, srv.Client().Transport.(*http.Transport).TLSClientConfig)
}

func TestABodyGoesThereAndAnAnswerComesBack(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil || r.ProtoMajor != 2 {
			t.Errorf("the request came as %s, %v", r.Proto, err)
		}
		fmt.Fprintf(w, `{"stack": %q, "notes": [%q]}`, r.Method+" "+r.URL.Path, data)
	})
	var out Apply
	if err := c.Do(t.Context(), "PUT", "/v1/stacks/s", Bundle{File: "/f"}, &out); err != nil {
		t.Fatal(err)
	}
	if out.Stack != "PUT /v1/stacks/s" || out.Notes[0] != `{"file":"/f","source":null,"files":null}` {
		t.Errorf("got %+v", out)
	}
	if err := c.Do(t.Context(), "GET", "/v1/version", nil, nil); err != nil {
		t.Errorf("an answer that nobody reads: %v", err)
	}
}

func TestARefusalKeepsItsCodeItsPlaceItsHintAndItsExitCode(t *testing.T) {
	for _, c := range []struct {
		err    *fault.Error
		status int
	}{
		{fault.Invalid("E-COLUMN", "compile", "stage x", fault.At("p.yaml", 3, 5), fault.Causef("no column \"a\""), fault.Hint("use b")), 422},
		{fault.NotFound("E-NOT-FOUND", "find stack", "s", fault.Causef("there is none"), fault.Hint("weir up")), 404},
		{fault.NoFit("E-NOFIT", "place", "web-0", fault.Causef("needs mem 40000 MiB"), fault.Hint("lower it")), 409},
		{fault.Denied("E-DENIED", "call", "", fault.Causef("worker/x may not"), fault.Hint("be an admin")), 403},
		{fault.TimedOut("E-TIMEOUT", "wait", "s", fault.Causef("30s"), fault.Hint("wait longer")), 504},
		{fault.New("E-PORT", "listen", "", fault.Causef("taken"), fault.Hint("end it")), 500},
	} {
		client := serving(t, func(w http.ResponseWriter, _ *http.Request) {
			status, body := EncodeFault(fmt.Errorf("outer: %w", c.err))
			if status != c.status {
				t.Errorf("%s is answered with %d, want %d", c.err.Code, status, c.status)
			}
			w.WriteHeader(status)
			w.Write(body)
		})
		err := client.Do(t.Context(), "GET", "/x", nil, nil)
		got := fault.From(err).Flat()
		if got.Code != c.err.Code || got.Hint != c.err.Hint || got.Pos != c.err.Pos || fault.ExitCode(err) != fault.ExitCode(c.err) || !strings.Contains(err.Error(), c.err.Err.Error()) {
			t.Errorf("%v came back as %+v, exit %d", c.err, got, fault.ExitCode(err))
		}
	}
}

func TestAllFaultsOfAListComeBack(t *testing.T) {
	var list fault.List
	list.Add(fault.Invalid("E-ONE", "check", "a", fault.Causef("first")))
	list.Add(fault.Invalid("E-TWO", "check", "b", fault.Causef("second")))
	client := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		status, body := EncodeFault(list.Err())
		w.WriteHeader(status)
		w.Write(body)
	})
	err := client.Do(t.Context(), "GET", "/x", nil, nil)
	if !fault.HasCode(err, "E-ONE") || !fault.HasCode(err, "E-TWO") || fault.ExitCode(err) != fault.ExitInvalid {
		t.Errorf("came back as %v", err)
	}
}

func TestAnErrorWithoutACodeIsStillToldInItsWords(t *testing.T) {
	client := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		status, body := EncodeFault(errors.New("the disk is full"))
		w.WriteHeader(status)
		w.Write(body)
	})
	err := client.Do(t.Context(), "GET", "/x", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "the disk is full") || fault.ExitCode(err) != fault.ExitFailed {
		t.Errorf("came back as %v, exit %d", err, fault.ExitCode(err))
	}
}

func TestARefusalThatIsNoFaultIsToldWithItsStatus(t *testing.T) {
	for _, body := range []string{"404 page not found\n", "", "[]", "null", "[null]", `{"a": 1}`} {
		client := serving(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, body)
		})
		err := client.Do(t.Context(), "GET", "/x", nil, nil)
		if !fault.HasCode(err, "E-SERVER") || !strings.Contains(err.Error(), "it answered 404: "+strings.TrimSpace(body)) {
			t.Errorf("the body %q became %v", body, err)
		}
	}
}

func TestAServerThatDoesNotAnswerIsUnreachableAndNamedOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "https://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	err = NewClient(address, &tls.Config{}).Do(t.Context(), "GET", "/v1/version", nil, nil)
	if !errors.Is(err, ErrUnreachable) || strings.Count(err.Error(), l.Addr().String()) > 2 || strings.Contains(err.Error(), `Get "`) {
		t.Errorf("got %v", err)
	}
}

func TestAServerOfAnotherAuthorityIsNotSpokenTo(t *testing.T) {
	called := false
	c := serving(t, func(http.ResponseWriter, *http.Request) { called = true })
	err := NewClient(c.URL, &tls.Config{}).Do(t.Context(), "GET", "/x", nil, nil)
	if !errors.Is(err, ErrUnreachable) || called {
		t.Errorf("got %v, and the server was called: %v", err, called)
	}
}

func TestACallThatWasGivenUpSaysWhyAndNotThatNoServerAnswers(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := serving(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel(fault.TimedOut("E-TIMEOUT", "wait", "", fault.Causef("too long")))
		<-r.Context().Done()
	})
	err := c.Do(ctx, "GET", "/x", nil, nil)
	if !fault.HasCode(err, "E-TIMEOUT") || errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestACallThatIsGivenUpWhileItsAnswerComesSaysWhyToo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"stack": `)
		w.(http.Flusher).Flush()
		cancel(fault.TimedOut("E-TIMEOUT", "wait", "", fault.Causef("too long")))
		<-r.Context().Done()
	})
	if err := c.Do(ctx, "GET", "/x", nil, &Apply{}); !fault.HasCode(err, "E-TIMEOUT") {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerHasALimit(t *testing.T) {
	long := json.RawMessage(`"` + strings.Repeat("x", MaxBody-2) + `"`)
	var extra string
	c := serving(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "%s%s", long, extra) })
	var out string
	if err := c.Do(t.Context(), "GET", "/x", nil, &out); err != nil || len(out) != MaxBody-2 {
		t.Errorf("the longest answer: %v", err)
	}
	extra = " "
	err := c.Do(t.Context(), "GET", "/x", nil, &out)
	if want := fmt.Sprintf("the answer of GET /x is longer than %d bytes", MaxBody); err == nil || err.Error() != want {
		t.Errorf("one byte more: %v, want %s", err, want)
	}
}

func TestAnAnswerThatIsNoJSONIsAnError(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") })
	if err := c.Do(t.Context(), "GET", "/x", nil, &Apply{}); err == nil || !strings.HasPrefix(err.Error(), "decode the answer of GET /x: ") {
		t.Errorf("got %v", err)
	}
	if err := c.Do(t.Context(), "GET", "/x", func() {}, nil); err == nil || !strings.HasPrefix(err.Error(), "encode GET /x: ") {
		t.Errorf("a request that cannot be encoded: %v", err)
	}
}

func TestACallIsBoundedUnlessItWaitsForWork(t *testing.T) {
	c := NewClient("https://127.0.0.1:1", &tls.Config{})
	if c.http.Timeout <= 0 {
		t.Error("a call may take for ever")
	}
	if c.NoTimeout(); c.http.Timeout != 0 {
		t.Errorf("a call that waits ends after %s", c.http.Timeout)
	}
}
