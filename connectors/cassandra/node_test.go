package cassandra

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/pipelines/physical"
)

// The node is a real Cassandra, one for all tests of the package: with mutual TLS from the first boot, on an address of its own.
// WEIR_TEST_CASSANDRA_LIB is a folder with the jars of org.apache.cassandra:cassandra-all:5.0.9.

const (
	clientPort  = 20942
	startWithin = 3 * time.Minute
)

type node struct {
	dir, lib, address string
	ca                *security.CA
	cmd               *exec.Cmd
	exited            chan error
}

var shared *node

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if shared != nil {
		if err := shared.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop cassandra:", err)
			code = 1
		}
		if err := os.RemoveAll(shared.dir); err != nil {
			fmt.Fprintln(os.Stderr, "remove cassandra's folder:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// connection starts the node where it does not run yet, and says how to reach it.
func connection(t testing.TB) physical.Connection {
	t.Helper()
	lib := os.Getenv("WEIR_TEST_CASSANDRA_LIB")
	switch {
	case testing.Short():
		t.Skip("needs a real Cassandra: run without -short")
	case lib == "":
		t.Skip("needs a real Cassandra: set WEIR_TEST_CASSANDRA_LIB to a folder with the jars of org.apache.cassandra:cassandra-all:5.0.9 (mvn dependency:copy-dependencies)")
	}
	if shared == nil {
		n, err := newNode(lib)
		if err == nil {
			err = n.start()
		}
		if err != nil {
			t.Fatal(err)
		}
		shared = n
	}
	return shared.connection(t)
}

func newNode(lib string) (*node, error) {
	dir, err := os.MkdirTemp("", "weir-cassandra-test-")
	if err != nil {
		return nil, err
	}
	ca, err := security.NewCA("test", time.Now(), rand.Reader)
	if err != nil {
		return nil, err
	}
	pid := os.Getpid()
	return &node{dir: dir, lib: lib, ca: ca, address: fmt.Sprintf("127.30.%d.%d", pid>>8&0x7f, pid&0x7f+1)}, nil
}

func (n *node) issue(cn string) (security.Bundle, error) {
	return n.ca.Issue(security.Request{CN: cn, Role: security.RoleCassandra, IPs: []net.IP{net.ParseIP(n.address)}, NotBefore: time.Now(),
		NotAfter: time.Now().Add(time.Hour), ClientAuth: true, ServerAuth: true})
}

func (n *node) connection(t testing.TB) physical.Connection {
	t.Helper()
	b, err := n.issue("worker")
	if err != nil {
		t.Fatal(err)
	}
	return physical.Connection{Operator: "cassandra", Servers: []string{fmt.Sprintf("%s:%d", n.address, clientPort)}, User: "cassandra", Password: "cassandra",
		CA: b.CAPEM, Cert: b.CertPEM, Key: b.KeyPEM, LocalDC: "dc1"}
}

func (n *node) write(name, text string) error {
	return os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600)
}

const nodeYAML = `cluster_name: test
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: GossipingPropertyFileSnitch
num_tokens: 16
storage_port: 20700
ssl_storage_port: 20701
native_transport_port: %[3]d
start_native_transport: true
listen_address: %[1]s
rpc_address: %[1]s
seed_provider: [{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{seeds: "%[1]s"}]}]
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
data_file_directories: [%[2]s/data]
commitlog_directory: %[2]s/commitlog
hints_directory: %[2]s/hints
saved_caches_directory: %[2]s/saved_caches
commitlog_sync: batch
commitlog_segment_size: 8MiB
commitlog_total_space: 64MiB
memtable_heap_space: 48MiB
memtable_offheap_space: 48MiB
memtable_allocation_type: heap_buffers
key_cache_size: 4MiB
counter_cache_size: 0MiB
file_cache_size: 32MiB
networking_cache_size: 32MiB
concurrent_reads: 8
concurrent_writes: 16
concurrent_compactors: 1
auto_snapshot: false
disk_access_mode: standard
client_encryption_options: {enabled: true, optional: false, require_client_auth: true, ssl_context_factory: {class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}, keystore: %[2]s/node.pem, truststore: %[2]s/ca.pem, accepted_protocols: [TLSv1.2, TLSv1.3]}
`

var exports = strings.Fields(`java.base/jdk.internal.misc java.base/java.lang.ref java.management.rmi/com.sun.jmx.remote.internal.rmi
	java.management/com.sun.jmx.remote.security java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql
	jdk.unsupported/sun.misc jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach`)

var opens = strings.Fields(`java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect
	java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar java.base/sun.nio.ch java.base/java.io
	java.base/java.lang.reflect java.base/java.lang java.base/java.util java.base/java.nio
	jdk.management/com.sun.management.internal jdk.compiler/com.sun.tools.javac`)

func (n *node) files() error {
	b, err := n.issue("node")
	if err != nil {
		return err
	}
	args := []string{"-Xms384m", "-Xmx384m", "-Xss256k", "-XX:+UseSerialGC", "-XX:+PerfDisableSharedMem", "-XX:+ExitOnOutOfMemoryError",
		"-Djava.net.preferIPv4Stack=true", "-Djna.nosys=true", "-Djdk.attach.allowAttachSelf=true", "-Dio.netty.tryReflectionSetAccessible=true",
		"-javaagent:" + n.lib + "/jamm-0.4.0.jar"}
	for _, e := range exports {
		args = append(args, "--add-exports="+e+"=ALL-UNNAMED")
	}
	for _, o := range opens {
		args = append(args, "--add-opens="+o+"=ALL-UNNAMED")
	}
	args = append(args, "-Dcassandra.config=file://"+n.dir+"/cassandra.yaml", "-Dcassandra-rackdc.properties=file://"+n.dir+"/rackdc.properties",
		"-Dcassandra.storagedir="+n.dir, "-Dcassandra.logdir="+n.dir, "-Dlogback.configurationFile="+n.dir+"/logback.xml", "-Dcassandra-foreground=yes",
		"-Dcassandra.superuser_setup_delay_ms=0", "-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=1000",
		"-Dcassandra.available_processors=2", "-Dcassandra.shutdown_announce_in_ms=100", "-cp", n.lib+"/*", "org.apache.cassandra.service.CassandraDaemon")
	return errors.Join(
		n.write("node.pem", string(b.JavaPEM())), n.write("ca.pem", string(b.CAPEM)), n.write("rackdc.properties", "dc=dc1\nrack=r1\n"),
		n.write("cassandra.yaml", fmt.Sprintf(nodeYAML, n.address, n.dir, clientPort)), n.write("jvm.args", strings.Join(args, "\n")+"\n"),
		n.write("logback.xml", `<configuration><appender name="S" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%d %-5level %logger{0}: %msg%n</pattern></encoder></appender><root level="WARN"><appender-ref ref="S"/></root></configuration>`))
}

// start returns when the node answers an authenticated query.
func (n *node) start() error {
	if err := n.files(); err != nil {
		return err
	}
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	out, err := os.Create(filepath.Join(n.dir, "stdout.log"))
	if err != nil {
		return err
	}
	defer out.Close() // the child has its own descriptor
	n.cmd = exec.Command(java, "@"+n.dir+"/jvm.args")
	n.cmd.Stdout, n.cmd.Stderr, n.cmd.Env = out, out, append(os.Environ(), "MALLOC_ARENA_MAX=4")
	if err := n.cmd.Start(); err != nil {
		return err
	}
	n.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait() }(n.cmd, n.exited)
	return n.ready()
}

func (n *node) ready() error {
	b, err := n.issue("probe")
	if err != nil {
		return err
	}
	c := physical.Connection{Servers: []string{fmt.Sprintf("%s:%d", n.address, clientPort)}, User: "cassandra", Password: "cassandra", CA: b.CAPEM, Cert: b.CertPEM, Key: b.KeyPEM}
	for end := time.Now().Add(startWithin); time.Now().Before(end); {
		s, err := Dial(context.Background(), c)
		if err == nil {
			s.Close()
			return nil
		}
		select {
		case err := <-n.exited:
			log, _ := os.ReadFile(filepath.Join(n.dir, "stdout.log"))
			return fmt.Errorf("cassandra ended (%v):\n%.4000s", err, log)
		case <-time.After(250 * time.Millisecond):
		}
	}
	return errors.Join(fmt.Errorf("cassandra did not answer within %s", startWithin), n.stop())
}

// stop kills the node, as a crash would.
func (n *node) stop() error {
	if n.cmd == nil {
		return nil
	}
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-n.exited
	n.cmd = nil
	return nil
}
