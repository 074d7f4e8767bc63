package daemon

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/security"
)

func TestEachInstallationHasACornerOfItsOwn(t *testing.T) {
	addresses, ports := map[string]bool{}, map[string]bool{}
	valid := regexp.MustCompile(`^127\.(2\d|[3-9]\d|1\d\d|2[01]\d)\.(\d{1,3})$`)
	for range 200 {
		o, free := corner("w"+rand.Text()[:10], "/state")
		addresses[o.Addresses], ports[free] = true, true
		m := valid.FindStringSubmatch(o.Addresses)
		if m == nil || len(m[2]) == 3 && m[2] > "249" || o.Dir != "/state" {
			t.Errorf("the corner is %+v", o)
		}
		if n, err := strconv.Atoi(free); err != nil || n < 20000 || n > 27900 || n < int(o.Ports.Begin) || n > int(o.Ports.End) {
			t.Errorf("ports are chosen from %q, and the agent has %+v", free, o.Ports)
		}
	}
	if len(addresses) < 190 || len(ports) < 50 {
		t.Errorf("200 installations have %d addresses and %d ports", len(addresses), len(ports))
	}
	a, x := corner("w1", "/s")
	b, y := corner("w1", "/s")
	if a.Addresses != b.Addresses || x != y {
		t.Error("the same installation has two corners")
	}
}

func TestATailIsTheLastLines(t *testing.T) {
	for _, c := range []struct {
		data  string
		lines int
		want  string
	}{
		{"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\nc", 2, "b\nc"},
		{"a\nb\n", 9, "a\nb\n"},
		{"a\n\n", 1, "\n"},
		{"a", 1, "a"},
		{"\n", 1, "\n"},
		{"", 3, ""},
		{"a\nb\n", 0, ""},
	} {
		if got := string(tail([]byte(c.data), c.lines)); got != c.want {
			t.Errorf("tail(%q, %d) = %q, want %q", c.data, c.lines, got, c.want)
		}
	}
}

func TestALogIsReadFromItsEndAndThenFromWhereItWasLeft(t *testing.T) {
	d := newDaemon()
	dir := t.TempDir()
	var err error
	if d.root, err = os.OpenRoot(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.root.Close() })
	file := filepath.Join(dir, AgentDir, "tasks", "t1", "stdout")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(from int64, want string, next int64) {
		t.Helper()
		got, err := d.readLog("pod", "t1", "stdout", 1, from)
		if err != nil || string(got.Text) != want || got.Next != next {
			t.Errorf("from %d: %q, next %d, %v; want %q, next %d", from, got.Text, got.Next, err, want, next)
		}
	}
	write("a\nb\n")
	read(-1, "b\n", 4)
	read(4, "", 4)
	write("a\nb\nc\nd\n")
	read(4, "c\nd\n", 8)
	write("new\n") // it was rotated
	read(8, "new\n", 4)
	_, err = d.readLog("pod", "t1", "secret", 1, -1)
	wantCode(t, "another file", err, "E-USAGE")
	_, err = d.readLog("pod", "../../..", "stdout", 1, -1)
	wantCode(t, "a path that leads out", err, "E-LOG")
}

func TestTheMeterCountsWhatWasSpentSinceTheLastLook(t *testing.T) {
	self, gone := os.Getpid(), 1<<22+1 // above the largest pid
	spent, err := cpuSeconds(self)
	if err != nil {
		t.Fatal(err)
	}
	var m meter
	if got := m.sample(map[string][]int{"server": {self, gone}}); len(got) != 0 {
		t.Errorf("at the first look: %v", got)
	}
	if _, ok := m.last[gone]; ok || len(m.last) != 1 {
		t.Errorf("it remembers %v", m.last)
	}
	m.last[self] = spent - 5
	if got := m.sample(map[string][]int{"server": {self}})["server"]; got < 5 || got > 60 {
		t.Errorf("%v s since the last look, want 5 and little more", got)
	}
	m.last[self] = spent + 1000 // the pid was another process's
	if got := m.sample(map[string][]int{"server": {self}}); len(got) != 0 {
		t.Errorf("another process's time was counted: %v", got)
	}
	if m.sample(nil); len(m.last) != 0 {
		t.Errorf("a process that left is remembered: %v", m.last)
	}
}

func TestARequestThatIsTooLongOrNoJSONIsRefused(t *testing.T) {
	var v map[string]any
	post := func(body []byte) error {
		return decode(httptest.NewRequest("POST", "/v1/plan", bytes.NewReader(body)), &v)
	}
	wantCode(t, "too long", post(bytes.Repeat([]byte(" "), api.MaxBody+1)), "E-SIZE")
	wantCode(t, "no JSON", post([]byte("{")), "E-JSON")
	wantCode(t, "as long as it may be", post(append([]byte("{}"), bytes.Repeat([]byte(" "), api.MaxBody-2)...)), "")
}

func TestAClientsCertificateIsIssuedOnceAndAgainAtHalfItsLife(t *testing.T) {
	d := newDaemon()
	var err error
	if d.ca, err = security.NewCA("weir", time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	certificate := func() string {
		b, err := d.clientCertificate("weir-client")
		if err != nil {
			t.Fatal(err)
		}
		return string(b.CertPEM)
	}
	first := certificate()
	if certificate() != first {
		t.Error("every call issues one")
	}
	now := time.Now()
	old, err := d.ca.Issue(security.Request{CN: "weir-client", Role: security.RoleCassandra, NotBefore: now, NotAfter: now.Add(clientLife/2 - time.Minute), ClientAuth: true})
	if err != nil {
		t.Fatal(err)
	}
	d.certs.issued["weir-client"] = old
	if certificate() == string(old.CertPEM) {
		t.Error("one that has less than half of its life left is still given out")
	}
}

func TestEveryRouteLetsInItsOwnRolesOnly(t *testing.T) {
	d := newDaemon()
	d.withMaster(t)
	d.cfg.Build, d.term = "b1", 7
	var err error
	if d.ca, err = security.NewCA("weir", time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	issue := func(r security.Request) security.Bundle {
		r.NotBefore, r.NotAfter = time.Now(), time.Now().Add(time.Hour)
		b, err := d.ca.Issue(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	srv := httptest.NewUnstartedServer(d.routes())
	if srv.TLS, err = security.ServerTLS(issue(security.Request{CN: "weir-server", Role: security.RoleServer, DNS: []string{"weir-server"}, ServerAuth: true})); err != nil {
		t.Fatal(err)
	}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	as := func(role security.Role) *api.Client {
		config, err := security.ClientTLS(issue(security.Request{CN: "me", Role: role, ClientAuth: true}), "weir-server")
		if err != nil {
			t.Fatal(err)
		}
		return api.NewClient(srv.URL, config)
	}
	var v api.Version
	if err := as(security.RoleAdmin).Do(t.Context(), "GET", "/v1/version", nil, &v); err != nil || v.Build != "b1" || v.Term != 7 {
		t.Errorf("an admin was told %+v, %v", v, err)
	}
	for _, c := range []struct {
		role security.Role
		path string
	}{
		{security.RoleWorker, "/v1/version"}, {security.RoleAgent, "/v1/stacks"}, {security.RoleWorker, "/v1/channels/p/c"}, {security.RoleAgent, "/v1/logs/x"},
		{security.RoleWorker, "/v1/agent"}, {security.RoleAdmin, "/v1/agent"}, {security.RoleAgent, "/v1/worker"}, {security.RoleAdmin, "/v1/worker"},
	} {
		err := as(c.role).Do(t.Context(), "GET", c.path, nil, nil)
		if !fault.HasCode(err, "E-DENIED") || fault.ExitCode(err) != fault.ExitDenied || !strings.Contains(err.Error(), "may not") {
			t.Errorf("%s calls %s: %v", c.role, c.path, err)
		}
	}
	res := httptest.NewRecorder()
	d.routes().ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/v1/version", nil))
	if res.Code < 400 {
		t.Errorf("a caller without a certificate was answered %d", res.Code)
	}
}
