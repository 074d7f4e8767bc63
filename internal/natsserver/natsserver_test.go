package natsserver_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/natsserver"
)

const good = `listen: "127.0.0.1:-1"
authorization {users: [{user: "weir", password: "$2a$04$abcdefghijklmnopqrstuuMvDbsIDzXMJzqKgN1SFKPMxYMnYDQqK"}]}
jetstream {store_dir: "DIR", sync_interval: always}
`

func run(t *testing.T, config string) error {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var log bytes.Buffer
	return natsserver.Run(ctx, file, &log)
}

func TestAServerThatIsClosedToStrangersRunsAndStops(t *testing.T) {
	if err := run(t, good); err != nil {
		t.Error(err)
	}
}

func TestATakenPortIsAnErrorAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = run(t, strings.Replace(good, "127.0.0.1:-1", l.Addr().String(), 1))
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}

func TestAConfigurationThatIsOpenIsRefused(t *testing.T) {
	for change, want := range map[string]string{
		good + "http_port: 8222\n":                                                                  "another listener, http_port",
		good + "leafnodes {port: 7422}":                                                             "another listener, leafnodes",
		good + "no_auth_user: weir\n":                                                               "anybody could connect",
		good + "websocket {port: 9222, no_tls: true}":                                               "another listener, websocket",
		strings.Replace(good, "127.0.0.1", "0.0.0.0", 1):                                            "without TLS",
		strings.Replace(good, "sync_interval: always", "", 1):                                       "before it is on disk",
		strings.Join(append(strings.Split(good, "\n")[:1], strings.Split(good, "\n")[2:]...), "\n"): "anybody could connect",
		strings.Replace(good, `, password: "$2a$04$abcdefghijklmnopqrstuuMvDbsIDzXMJzqKgN1SFKPMxYMnYDQqK"`, "", 1):                                           "password",
		strings.Replace(good, `"$2a$04$abcdefghijklmnopqrstuuMvDbsIDzXMJzqKgN1SFKPMxYMnYDQqK"`, `""`, 1):                                                     "password",
		"accounts {A: {users: [{user: a, password: \"\"}]}}\n" + strings.Join(append(strings.Split(good, "\n")[:1], strings.Split(good, "\n")[2:]...), "\n"): "password",
		good + "mqtt {port: 1883}\n": "another listener, mqtt",
		good + "monitor_port: -1\n":  "another listener, http_port",
		"listen: [":                  "",
	} {
		err := run(t, change)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with\n%s\ngot %v, want %q", change, err, want)
		}
	}
}
