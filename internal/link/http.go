package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
)

const (
	contentType = "application/vnd.weir.link.v1"
	// maxRefusal bounds what is read of the body of a refused request, in bytes.
	maxRefusal  = 64 << 10
	dialTimeout = 10 * time.Second
)

// Dial opens a link to an https URL. ctx bounds the opening only: a link lives until Close. A refusal of the server comes back
// as the fault that it sent, or by its status (fault.Denied for 401 and 403, fault.NotFound for 404).
func Dial(ctx context.Context, target string, config *tls.Config, header http.Header, opts Options) (*Conn, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("dial link: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("dial link %s: its scheme is not https", target)
	}
	client := newTransport(config)
	live, cancel := context.WithCancelCause(context.Background())
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	timer := time.AfterFunc(dialTimeout, func() { cancel(fmt.Errorf("no answer within %s", dialTimeout)) })
	bodyReader, bodyWriter := io.Pipe()
	fail := func(err error) (*Conn, error) {
		stop()
		timer.Stop()
		if cause := context.Cause(live); cause != nil {
			err = cause
		}
		cancel(err)
		client.CloseIdleConnections()
		if refused := (*fault.Error)(nil); errors.As(err, &refused) {
			return nil, fmt.Errorf("dial link %s: %w", target, err) // the refusal's own code and hint are those to act on
		}
		return nil, fault.New("E-DIAL", "dial link", target, fault.Cause(err), fault.Hint(dialHint(err)))
	}
	r, err := http.NewRequestWithContext(live, http.MethodPost, target, bodyReader)
	if err != nil {
		return fail(err)
	}
	r.Header = header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Content-Type", contentType)
	response, err := client.RoundTrip(r)
	opened := stop()
	opened = timer.Stop() && opened
	if err != nil {
		return fail(err)
	}
	if response.StatusCode != http.StatusOK {
		return fail(refusal(response))
	}
	peer, err := security.PeerIdentity(response.TLS)
	if err == nil && !peer.Is(security.RoleServer) {
		// A managed Kafka has a certificate of the same authority, perhaps for the same address.
		err = fault.Denied("E-LINK", "open", "link", fault.Causef("%s answered, and it is no Weir server", peer))
	}
	if err == nil && !opened {
		err = context.Cause(live)
	}
	if err != nil {
		return fail(errors.Join(err, response.Body.Close()))
	}
	return newConn(transport{
		in: response.Body, out: bodyWriter,
		flush:    func() error { return nil }, // a pipe has no buffer, and the transport sends what it reads from it
		closeOut: bodyWriter.Close,
		abort: func() {
			cancel(ErrClosed)
			_ = bodyWriter.CloseWithError(ErrClosed) // always nil, as its documentation says
			client.CloseIdleConnections()
		},
	}, peer, opts.withDefaults()), nil
}

// dialHint says what to do about the usual failures, and nothing about others: a refusal brings its own hint.
func dialHint(err error) string {
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "no server listens there: start it (weir up), or name another with --server"
	case errors.As(err, &verify), errors.As(err, &alert):
		return "one side's certificate is not of the other's authority: use the state directory of that server"
	}
	return ""
}

// newTransport makes a transport of one connection, so that a link and its TCP connection live and die together.
func newTransport(config *tls.Config) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Transport{
		Proxy:                  nil, // never: the link goes where its URL says
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        config.Clone(),
		TLSHandshakeTimeout:    dialTimeout,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func refusal(response *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	err = errors.Join(err, response.Body.Close())
	if err != nil {
		return fmt.Errorf("the server answered %s: %w", response.Status, err)
	}
	if sent, derr := fault.Decode(data); derr == nil && sent != nil {
		return sent
	}
	subject, cause := "link", fault.Causef("the server answered %s: %.200q", response.Status, data)
	switch response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fault.Denied("E-LINK", "open", subject, cause)
	case http.StatusNotFound:
		return fault.NotFound("E-LINK", "open", subject, cause)
	}
	return fault.New("E-LINK", "open", subject, cause)
}

// Refuse answers a request that is not accepted, with the fault that Dial's caller will get.
func Refuse(w http.ResponseWriter, err error) error {
	status := map[int]int{
		fault.ExitDenied: http.StatusForbidden, fault.ExitNotFound: http.StatusNotFound, fault.ExitInvalid: http.StatusBadRequest,
	}[fault.ExitCode(err)]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	data, eerr := fault.Encode(err)
	if eerr != nil {
		return eerr
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, werr := w.Write(data); werr != nil {
		return fmt.Errorf("answer refused link: %w", werr)
	}
	return nil
}

// Accept makes a link of a request. When it fails it has answered the request. The handler must Close the link before it
// returns, and should decide by Conn.Peer what the peer may do before it acts on a frame.
func Accept(w http.ResponseWriter, r *http.Request, opts Options) (*Conn, error) {
	peer, err := security.PeerIdentity(r.TLS)
	if err == nil && (r.ProtoMajor != 2 || r.Method != http.MethodPost || r.Header.Get("Content-Type") != contentType) {
		err = fault.Invalid("E-LINK", "accept link", "", fault.Causef("%s %s over %s with content type %.80q is no link",
			r.Method, r.URL.Path, r.Proto, r.Header.Get("Content-Type")))
	}
	if err != nil {
		return nil, errors.Join(err, Refuse(w, err))
	}
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	if err := control.Flush(); err != nil {
		return nil, fmt.Errorf("accept link from %s: %w", peer, err)
	}
	c := newConn(transport{
		in: r.Body, out: w, flush: control.Flush,
		closeOut: func() error { return nil }, // the stream ends when the handler returns
		abort: func() {
			// Deadlines in the past wake a blocked Read and Write. Both only fail where the stream is gone already.
			past := time.Unix(1, 0)
			_ = control.SetReadDeadline(past)
			_ = control.SetWriteDeadline(past)
		},
	}, peer, opts.withDefaults())
	return c, nil
}

// ServerConfig is what NewServer needs.
type ServerConfig struct {
	TLS     *tls.Config // from security.ServerTLS
	Handler http.Handler
	Log     *slog.Logger // refused handshakes and broken connections; nil drops them
}

// NewServer makes a server that speaks HTTP/2 over TLS alone, with limits on headers and on the time to send them. Requests
// themselves have no time limit, since a link lives as long as its peer; the link's heartbeats end it. Serve it with
// srv.ServeTLS(listener, "", "").
func NewServer(config ServerConfig) (*http.Server, error) {
	if config.TLS == nil || config.TLS.ClientAuth != tls.RequireAndVerifyClientCert || config.TLS.MinVersion < tls.VersionTLS13 {
		return nil, errors.New("make server: its TLS configuration does not demand TLS 1.3 and a client certificate; use security.ServerTLS")
	}
	log := config.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:           config.Handler,
		TLSConfig:         config.TLS.Clone(),
		Protocols:         protocols,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}, nil
}

// Listen opens a TCP listener. An address that is not loopback (the empty host, which is every interface, included) is
// fault.Denied unless remote says that it was asked for.
func Listen(ctx context.Context, address string, remote bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fault.Invalid("E-LISTEN", "listen on", address, fault.Cause(err))
	}
	ip := net.ParseIP(host)
	if !remote && (ip == nil || !ip.IsLoopback()) {
		return nil, fault.Denied("E-LISTEN", "listen on", address,
			fault.Causef("host %q is not a loopback address", host),
			fault.Hint("use 127.0.0.1, or ask for a remote listener"))
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}
