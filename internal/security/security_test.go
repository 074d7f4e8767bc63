package security_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
)

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

func newCA(t *testing.T) *security.CA {
	t.Helper()
	ca, err := security.NewCA("weir", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *security.CA, r security.Request) security.Bundle {
	t.Helper()
	if r.NotBefore.IsZero() {
		r.NotBefore, r.NotAfter = time.Now(), time.Now().Add(time.Hour)
	}
	b, err := ca.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func server(t *testing.T, ca *security.CA) security.Bundle {
	return issue(t, ca, security.Request{CN: "server", Role: security.RoleServer, DNS: []string{"weir"}, IPs: loopback, ServerAuth: true})
}

func client(t *testing.T, ca *security.CA, role security.Role) security.Bundle {
	return issue(t, ca, security.Request{CN: "agent-1", Role: role, ClientAuth: true})
}

// shake runs one handshake and returns who the server saw, and both sides' errors.
func shake(t *testing.T, serverTLS, clientTLS *tls.Config) (security.Identity, error, error) {
	t.Helper()
	a, b := net.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, c := tls.Server(a, serverTLS), tls.Client(b, clientTLS)
	clientErr := make(chan error, 1)
	go func() {
		err := c.HandshakeContext(ctx)
		if err == nil {
			// In TLS 1.3 the client learns of a refusal with its first read.
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		_ = b.Close() // a pipe's Close has no error to report
		clientErr <- err
	}()
	err := s.HandshakeContext(ctx)
	var id security.Identity
	if err == nil {
		state := s.ConnectionState()
		if id, err = security.PeerIdentity(&state); err == nil {
			_, err = s.Write([]byte("!"))
		}
	}
	_ = a.Close()
	return id, err, <-clientErr
}

func configs(t *testing.T, s, c security.Bundle, name string) (*tls.Config, *tls.Config) {
	t.Helper()
	serverTLS, err := security.ServerTLS(s)
	if err != nil {
		t.Fatal(err)
	}
	clientTLS, err := security.ClientTLS(c, name)
	if err != nil {
		t.Fatal(err)
	}
	return serverTLS, clientTLS
}

func TestPeersOfOneAuthorityKnowEachOther(t *testing.T) {
	ca := newCA(t)
	for _, name := range []string{"weir", "127.0.0.1"} {
		serverTLS, clientTLS := configs(t, server(t, ca), client(t, ca, security.RoleAgent), name)
		id, serr, cerr := shake(t, serverTLS, clientTLS)
		if serr != nil || cerr != nil {
			t.Fatalf("handshake with %s: server %v, client %v", name, serr, cerr)
		}
		if id.String() != "agent/agent-1" || !id.Is(security.RoleAdmin, security.RoleAgent) || id.Is("agen") {
			t.Errorf("the server saw %v", id)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ca, foreign := newCA(t), newCA(t)
	now := time.Now()
	expired := issue(t, ca, security.Request{CN: "old", Role: security.RoleAgent, ClientAuth: true,
		NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})
	good := client(t, ca, security.RoleAgent)
	mixed := client(t, foreign, security.RoleAgent)
	mixed.CAPEM = ca.CertPEM()
	cases := []struct {
		name   string
		server security.Bundle
		client security.Bundle
		expect string
		change func(*tls.Config)
	}{
		{name: "client of another authority", server: server(t, ca), client: mixed, expect: "weir"},
		{name: "server of another authority", server: server(t, foreign), client: good, expect: "weir"},
		{name: "no client certificate", server: server(t, ca), client: good, expect: "weir",
			change: func(c *tls.Config) { c.Certificates = nil }},
		{name: "expired client", server: server(t, ca), client: expired, expect: "weir"},
		{name: "another server name", server: server(t, ca), client: good, expect: "elsewhere"},
		{name: "client certificate as a server", server: good, client: good, expect: "weir"},
		{name: "server certificate as a client", server: server(t, ca), client: server(t, ca), expect: "weir"},
		{name: "TLS 1.2", server: server(t, ca), client: good, expect: "weir",
			change: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
		{name: "HTTP/1.1", server: server(t, ca), client: good, expect: "weir",
			change: func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
		{name: "no protocol", server: server(t, ca), client: good, expect: "weir",
			change: func(c *tls.Config) { c.NextProtos = nil }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			serverTLS, clientTLS := configs(t, c.server, c.client, c.expect)
			if c.change != nil {
				c.change(clientTLS)
			}
			if id, serr, cerr := shake(t, serverTLS, clientTLS); serr == nil || cerr == nil {
				t.Errorf("let in as %v (server %v, client %v)", id, serr, cerr)
			}
		})
	}
}

func TestAnUnprovenIdentityIsDenied(t *testing.T) {
	ca := newCA(t)
	cert, err := client(t, ca, security.RoleAdmin).TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string]*tls.ConnectionState{
		"no TLS":          nil,
		"unfinished":      {VerifiedChains: [][]*x509.Certificate{{cert.Leaf}}},
		"only claimed":    {HandshakeComplete: true, PeerCertificates: []*x509.Certificate{cert.Leaf}},
		"empty chain":     {HandshakeComplete: true, VerifiedChains: [][]*x509.Certificate{{}}},
		"not of our form": {HandshakeComplete: true, VerifiedChains: [][]*x509.Certificate{{&x509.Certificate{}}}},
	} {
		if id, err := security.PeerIdentity(state); fault.ExitCode(err) != fault.ExitDenied {
			t.Errorf("%s: identity %v, error %v", name, id, err)
		}
	}
}

func TestIssueRefusesWhatMakesNoSense(t *testing.T) {
	ca, now := newCA(t), time.Now()
	good := security.Request{CN: "a", Role: security.RoleAgent, ClientAuth: true, NotBefore: now, NotAfter: now.Add(time.Hour)}
	for name, change := range map[string]func(*security.Request){
		"no name":        func(r *security.Request) { r.CN = "" },
		"two names":      func(r *security.Request) { r.CN = "a,OU=admin" },
		"long name":      func(r *security.Request) { r.CN = strings.Repeat("a", 65) },
		"unknown role":   func(r *security.Request) { r.Role = "root" },
		"no use":         func(r *security.Request) { r.ClientAuth = false },
		"server nowhere": func(r *security.Request) { r.ServerAuth = true },
		"no time":        func(r *security.Request) { r.NotAfter = r.NotBefore },
		"for ever":       func(r *security.Request) { r.NotAfter = now.AddDate(20, 0, 0) },
	} {
		r := good
		change(&r)
		if _, err := ca.Issue(r); fault.ExitCode(err) != fault.ExitInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ca.Issue(good); err != nil {
		t.Errorf("the good request was refused: %v", err)
	}
}

func TestJavaPEMIsKeyCertificateAuthority(t *testing.T) {
	ca := newCA(t)
	rest := server(t, ca).JavaPEM()
	for _, want := range []string{"PRIVATE KEY", "CERTIFICATE", "CERTIFICATE"} {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != want {
			t.Fatalf("got block %v, want %s", block, want)
		}
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		t.Errorf("more after the authority: %q", rest)
	}
	cert, err := server(t, ca).TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	// Kafka's rule RULE:^CN=([^,]+).*$/$1/ reads this text.
	if got := cert.Leaf.Subject.String(); got != "CN=server,OU=server,O=weir" {
		t.Errorf("subject is %s", got)
	}
}

func TestAuthorityAndBundleComeBackFromTheStateDirectory(t *testing.T) {
	root := stateDir(t, filepath.Join(t.TempDir(), "weir"))
	var wg sync.WaitGroup
	certs := make([][]byte, 4)
	for i := range certs {
		wg.Go(func() {
			ca, err := security.EnsureCA(root, "weir", time.Now(), rand.Reader)
			if err != nil {
				t.Error(err)
				return
			}
			certs[i] = ca.CertPEM()
		})
	}
	wg.Wait()
	for i := range certs {
		if !bytes.Equal(certs[i], certs[0]) {
			t.Fatal("two first runs made two authorities")
		}
	}
	ca, err := security.EnsureCA(root, "weir", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := client(t, ca, security.RoleAdmin)
	if err := b.Save(root, "admin.pem"); err != nil {
		t.Fatal(err)
	}
	got, err := security.LoadBundle(root, "admin.pem")
	if err != nil || !bytes.Equal(got.JavaPEM(), b.JavaPEM()) {
		t.Errorf("bundle came back changed (%v)", err)
	}
	if _, err := security.LoadBundle(root, "nobody.pem"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing bundle: %v", err)
	}
	if err := root.Chmod("admin.pem", 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := security.LoadBundle(root, "admin.pem"); fault.ExitCode(err) != fault.ExitDenied {
		t.Errorf("a key that all can read was taken: %v", err)
	}
}

func stateDir(t *testing.T, path string) *os.Root {
	t.Helper()
	root, err := security.OpenStateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return root
}

func TestAStateDirectoryThatOthersCanWriteIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "weir")
	stateDir(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("made with %v (%v)", info.Mode(), err)
	}
	for _, mode := range []os.FileMode{0o770, 0o702} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if root, err := security.OpenStateDir(dir); fault.ExitCode(err) != fault.ExitDenied {
			t.Errorf("mode %v was taken (%v, %v)", mode, root, err)
		}
	}
}

func TestWriteFileReplacesAtOnceAndLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root := stateDir(t, dir)
	for _, content := range []string{"one", "two"} {
		if err := security.WriteFile(root, "f", []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := root.ReadFile("f")
		if err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if err := security.WriteFile(root, "../out", nil, 0o600); err == nil {
		t.Error("a path led out of the state directory")
	}
	if err := security.WriteFile(root, "missing/f", nil, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
	if err := root.Mkdir("taken", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := security.WriteFile(root, "taken", nil, 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
	if info, err := root.Stat("f"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v (%v)", info, err)
	}
}

func TestSealedValuesOpenOnlyUnchangedUnderTheirName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "weir")
	sealer, err := security.OpenSealer(stateDir(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	again, err := security.OpenSealer(stateDir(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		data := sealer.Seal(name, plain)
		if got, err := again.Unseal(name, data); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("got %q, %v", got, err)
		}
		if len(plain) > 7 && bytes.Contains(data, plain) {
			t.Fatal("the plain text is in the sealed value")
		}
		if bytes.Equal(data, sealer.Seal(name, plain)) {
			t.Fatal("sealing twice gave the same bytes")
		}
		if _, err := sealer.Unseal(name+"x", data); fault.ExitCode(err) != fault.ExitDenied {
			t.Fatalf("opened under another name: %v", err)
		}
		i := rapid.IntRange(0, len(data)-1).Draw(t, "flip")
		data[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := sealer.Unseal(name, data); err == nil {
			t.Fatal("opened although changed")
		}
		if _, err := sealer.Unseal(name, data[:i]); err == nil {
			t.Fatal("opened although cut")
		}
	})
	other, err := security.OpenSealer(stateDir(t, filepath.Join(t.TempDir(), "weir")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Unseal("n", sealer.Seal("n", []byte("secret"))); fault.ExitCode(err) != fault.ExitDenied {
		t.Errorf("opened with another key: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "seal.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
}

func TestPasswordsAreLongAlphanumericAndEven(t *testing.T) {
	form := regexp.MustCompile(`^[A-Za-z0-9]{28}$`)
	counts := map[rune]int{}
	const n = 2000
	for range n {
		p := security.Password(rand.Reader)
		if !form.MatchString(p) {
			t.Fatalf("password %q", p)
		}
		for _, r := range p {
			counts[r]++
		}
	}
	// 62 letters share 56,000 draws: 903 each, deviation 30; taking bytes modulo 62 would give the first eight 1094.
	for r, c := range counts {
		if c < 720 || c > 1050 {
			t.Errorf("%q came %d times, about 903 expected", r, c)
		}
	}
}

func TestScramMatchesAnIndependentImplementation(t *testing.T) {
	// python3: hashlib.pbkdf2_hmac('sha512', b'pencil', b'0123456789abcdef', 4096)
	const want = "lx09IjZlvpg0vqHcE9KeRLHSz0dHYbOW8f+aDDbJnylpnGAu4U+E75nBhoM3aBtuyhbHISvlcdjpHw3BMWXspw=="
	got, err := security.ScramSHA512("pencil", []byte("0123456789abcdef"), 4096)
	if err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
	option, err := security.KafkaScram("broker", "pencil", []byte("0123456789abcdef"), 4096)
	if err != nil || option != "SCRAM-SHA-512=[name=broker,salt=MDEyMzQ1Njc4OWFiY2RlZg==,saltedpassword="+want+",iterations=4096]" {
		t.Errorf("got %s, %v", option, err)
	}
	if _, err := security.ScramSHA512("pencil", []byte("0123456789abcdef"), 1); err == nil {
		t.Error("one iteration was accepted")
	}
	if _, err := security.KafkaScram("a,b", "pencil", security.Salt(rand.Reader), 4096); err == nil {
		t.Error("a user name with a comma was accepted")
	}
}

func TestParseIDTakesExactlyItsPattern(t *testing.T) {
	form := regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	generated := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z][a-z0-9-]{0,64}`), rapid.StringMatching(`[A-Za-z0-9./_-]{0,4}\n?`))
	rapid.Check(t, func(t *rapid.T) {
		s := generated.Draw(t, "s")
		id, err := security.ParseID(s)
		// Go's $ matches only at the very end, so a trailing line end is no match.
		if want := form.MatchString(s); want != (err == nil) {
			t.Fatalf("ParseID(%q) = %q, %v", s, id, err)
		}
		if err == nil && string(id) != s {
			t.Fatalf("ParseID(%q) = %q", s, id)
		}
	})
	if _, err := security.ParseID("../etc"); fault.ExitCode(err) != fault.ExitInvalid {
		t.Errorf("got %v", err)
	}
}
