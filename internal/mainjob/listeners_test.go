package mainjob

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// verifyListeners scans what the installation's processes listen on: only loopback, only what is known, and nothing answers a stranger (I9).
func (w *install) verifyListeners() {
	w.t.Helper()
	found := w.listeners()
	w.t.Logf("listeners: %v", found)
	known := map[string]func(string) error{
		"the server": tlsRefuses, "the broker": nil, "the node": nil,
	}
	seen := map[string]int{}
	for addr, owner := range found {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			w.t.Fatal(err)
		}
		if !net.ParseIP(host).IsLoopback() {
			w.t.Errorf("%s listens on %s, which is not loopback", owner, addr)
		}
		refuses, ok := known[owner]
		if !ok {
			w.t.Errorf("%s listens on %s: nobody should", owner, addr)
			continue
		}
		seen[owner]++
		if refuses == nil {
			refuses = map[string]func(string) error{"9042": cassandraRefuses}[port]
		}
		if refuses == nil {
			refuses = tlsRefuses
			if owner == "the broker" && addr == w.channel("late").Connection.Servers[0] {
				refuses = kafkaRefuses
			}
		}
		if err := refuses(addr); err != nil {
			w.t.Errorf("%s at %s answers a stranger: %v", owner, addr, err)
		}
	}
	if seen["the server"] != 1 || seen["the broker"] != 2 || seen["the node"] < 2 {
		w.t.Errorf("listeners by owner: %v; want 1 of the server, 2 of the broker, 2 or 3 of the node", seen)
	}
}

// listeners maps "address:port" to the process of the installation that listens there.
func (w *install) listeners() map[string]string {
	w.t.Helper()
	owners := map[string]string{} // by socket inode
	for pid, line := range w.processes() {
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, fd := range fds {
			to, err := os.Readlink(fd)
			if err == nil && strings.HasPrefix(to, "socket:[") {
				owners[strings.Trim(to, "socket:[]")] = what(line)
			}
		}
	}
	out := map[string]string{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // no IPv6 here
		}
		for scan := bufio.NewScanner(f); scan.Scan(); {
			fields := strings.Fields(scan.Text())
			const listen = "0A"
			if len(fields) > 9 && fields[3] == listen && owners[fields[9]] != "" {
				out[address(w.t, fields[1])] = owners[fields[9]]
			}
		}
		if err := f.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	return out
}

// address reads "0100007F:1F90": 32-bit words in host order, the port in hexadecimal.
func address(t *testing.T, s string) string {
	t.Helper()
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	ip := net.IP(raw)
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return net.JoinHostPort(ip.String(), fmt.Sprint(n))
}

// tlsRefuses: a client without a certificate must not get as far as reading a byte. TLS 1.3 tells it so at its first read.
func tlsRefuses(addr string) error {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 3 * time.Second}, "tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // a stranger's client
	if err != nil {
		return nil
	}
	defer c.Close() //nolint:errcheck // a test's connection
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		return nil
	}
	if n, err := c.Read(make([]byte, 1)); err == nil {
		return fmt.Errorf("%d bytes came back over TLS without a client certificate", n)
	}
	return nil
}

// kafkaRefuses: neither without a login nor with a wrong one does a broker answer a metadata request.
func kafkaRefuses(addr string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0), kgo.RetryTimeout(2*time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	m, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl)
	if err == nil {
		return fmt.Errorf("metadata without a login: %d brokers", len(m.Brokers))
	}
	return nil
}

// cassandraRefuses: not even with the default account's password does a node answer a client without a certificate.
func cassandraRefuses(addr string) error {
	cluster := gocql.NewCluster(addr)
	cluster.ProtoVersion, cluster.ConnectTimeout, cluster.Timeout = 4, 3*time.Second, 3*time.Second
	cluster.Authenticator = gocql.PasswordAuthenticator{Username: "cassandra", Password: "cassandra"}
	cluster.Logger = quiet{}
	for _, opts := range []*gocql.SslOptions{nil, {Config: &tls.Config{InsecureSkipVerify: true}}} { //nolint:gosec // a stranger's client
		cluster.SslOpts = opts
		if s, err := cluster.CreateSession(); err == nil {
			s.Close()
			return fmt.Errorf("a session without a certificate was opened")
		}
	}
	return nil
}

type quiet struct{}

func (quiet) Print(...any)          {}
func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}
