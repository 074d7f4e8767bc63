package cassandra

import (
	"fmt"
	"strings"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// Env is what the machine that launches has: found by operators/artifact, the same for every node.
type Env struct {
	Java string // absolute path of the java of a JDK 17
	Libs string // absolute directory of Cassandra's jars
	Jamm string // absolute path of jamm's jar, which is also a Java agent
	// RingDelay is how long a bootstrap waits for gossip, milliseconds; 0 means 1000, which is right for nodes of one machine.
	RingDelay int
}

// Secrets are what a node must have: its certificate for the placement's address, made anew for each launch.
type Secrets struct {
	NodePEM []byte // PKCS#8 key, certificate and authority
	CAPEM   []byte
}

// Command is how a node is started at a placement.
func Command(l operators.Launch, at operators.Placement, env Env, s Secrets) (operators.TaskSpec, error) {
	if at.Address == "" || at.Volume == "" {
		return operators.TaskSpec{}, fmt.Errorf("build the command of %s: its placement has no address or no volume (address %q, volume %q)", l.Pod.Name(), at.Address, at.Volume)
	}
	at = withPorts(at, l.Pod)
	return operators.TaskSpec{
		Command: resources.Command{
			Argv: []string{env.Java, "@{sandbox}/cassandra.args"},
			// glibc gives each thread an arena of its own; Cassandra has hundreds of threads.
			Env:     map[string]string{"MALLOC_ARENA_MAX": "4"},
			DropIPC: true, // as root mlockall would hold the whole heap in memory: 755 MB instead of 375
		},
		Files: []resources.File{
			file("cassandra.yaml", yaml(l, at)),
			file("cassandra-rackdc.properties", "dc="+DC+"\nrack="+Rack+"\n"),
			file("logback.xml", logging),
			file("cassandra.args", arguments(l, at, env)),
			file("node.pem", string(s.NodePEM)),
			file("ca.pem", string(s.CAPEM)),
		},
	}, nil
}

func withPorts(at operators.Placement, pod operators.PodSpec) operators.Placement {
	ports := map[string]int{}
	for _, p := range pod.Ports {
		ports[p.Name] = p.Number
	}
	for k, v := range at.Ports {
		ports[k] = v
	}
	at.Ports = ports
	return at
}

func file(path, content string) resources.File {
	return resources.File{Path: path, Mode: 0o600, Content: []byte(content)}
}

func home(at operators.Placement) string { return "{volume:" + at.Volume + "}" }

// heapMiB is three eighths of the task's memory: 384 MB of 1024. Off-heap memtables, caches, code and threads take the rest.
func heapMiB(memMiB int64) int64 { return max(256, memMiB*3/8) }

// exports and opens are what Cassandra 5.0 needs of a JDK 17 (conf/jvm17-server.options), in the "=" form, which alone works in a file.
var (
	exports = strings.Fields(`java.base/jdk.internal.misc java.base/java.lang.ref java.management.rmi/com.sun.jmx.remote.internal.rmi
		java.management/com.sun.jmx.remote.security java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql
		jdk.unsupported/sun.misc jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach`)
	opens = strings.Fields(`java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect
		java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar java.base/sun.nio.ch java.base/java.io
		java.base/java.lang.reflect java.base/java.lang java.base/java.util java.base/java.nio
		jdk.management/com.sun.management.internal jdk.compiler/com.sun.tools.javac`)
)

// arguments is the JVM's argument file. No JMX property is in it: -Dcassandra.jmx.local.port would open two listeners without
// authentication.
func arguments(l operators.Launch, at operators.Placement, env Env) string {
	heap := heapMiB(l.Pod.MemMiB)
	ring := env.RingDelay
	if ring == 0 {
		ring = 1000
	}
	args := []string{
		fmt.Sprintf("-Xms%dm", heap), fmt.Sprintf("-Xmx%dm", heap), "-Xss256k", "-XX:+UseSerialGC", "-XX:+PerfDisableSharedMem",
		"-XX:+ExitOnOutOfMemoryError", "-Djava.net.preferIPv4Stack=true", "-Djna.nosys=true", "-Djava.io.tmpdir={sandbox}",
		"-Djdk.attach.allowAttachSelf=true", "-Dio.netty.tryReflectionSetAccessible=true",
		"-Dio.netty.allocator.useCacheForAllThreads=true", "-Dio.netty.allocator.maxOrder=11",
		"-javaagent:" + env.Jamm,
	}
	if l.Spec.Profile != "production" {
		// The first compiler tier alone: a first boot costs 6 s of CPU instead of 11.
		args = append(args, "-XX:TieredStopAtLevel=1")
		// Each login hashes, and every worker logs in three times at its start. The passwords are 28 random characters, which no slow hash
		// makes harder to guess.
		args = append(args, "-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4")
	}
	for _, e := range exports {
		args = append(args, "--add-exports="+e+"=ALL-UNNAMED")
	}
	for _, o := range opens {
		args = append(args, "--add-opens="+o+"=ALL-UNNAMED")
	}
	args = append(args,
		"-Dcassandra.config=file://{sandbox}/cassandra.yaml",
		"-Dcassandra-rackdc.properties=file://{sandbox}/cassandra-rackdc.properties",
		"-Dcassandra.storagedir="+home(at), "-Dcassandra.logdir={sandbox}",
		"-Dlogback.configurationFile={sandbox}/logback.xml", "-Dcassandra-foreground=yes",
		"-Dcassandra.superuser_setup_delay_ms=0", "-Dcassandra.skip_wait_for_gossip_to_settle=0",
		fmt.Sprintf("-Dcassandra.ring_delay_ms=%d", ring), "-Dcassandra.available_processors=2", "-Dcassandra.shutdown_announce_in_ms=100",
		"-Dcassandra.system_distributed.default_rf=1", "-Dcassandra.system_traces.default_rf=1",
		"-cp", env.Libs+"/*", "org.apache.cassandra.service.CassandraDaemon")
	var b strings.Builder
	for _, a := range args {
		b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a) + "\"\n")
	}
	return b.String()
}

// yaml: an unknown key is fatal to the node, so that every key of it was run. Words stand in double quotes, which YAML reads as JSON does.
func yaml(l operators.Launch, at operators.Placement) string {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	put("cluster_name: %q", l.Spec.Stack+"/"+l.Spec.Name)
	put("partitioner: org.apache.cassandra.dht.Murmur3Partitioner")
	put("endpoint_snitch: GossipingPropertyFileSnitch")
	put("num_tokens: 16")
	put("allocate_tokens_for_local_replication_factor: %d", min(3, l.Spec.Size))
	put("storage_port: %d", at.Ports[StoragePort])
	put("ssl_storage_port: %d", at.Ports[TLSPort])
	put("native_transport_port: %d", at.Ports[ClientPort])
	put("start_native_transport: true")
	put("listen_address: %q", at.Address)
	put("rpc_address: %q", at.Address)
	put("seed_provider: [{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{seeds: %q}]}]", at.Address)
	put("authenticator: PasswordAuthenticator")
	put("authorizer: CassandraAuthorizer")
	put("role_manager: CassandraRoleManager")
	// With the default of 2 s a password that was changed still works for that long.
	put("credentials_validity: 0ms")
	put("roles_validity: 0ms")
	for _, d := range []string{"commitlog", "hints", "saved_caches"} {
		put("%s_directory: \"%s/%s\"", d, home(at), d)
	}
	put("data_file_directories: [\"%s/data\"]", home(at))
	// periodic loses acknowledged writes when the process alone is killed.
	put("commitlog_sync: batch")
	put("commitlog_segment_size: 8MiB")
	put("commitlog_total_space: 64MiB")
	put("memtable_heap_space: 48MiB")
	put("memtable_offheap_space: 48MiB")
	put("memtable_allocation_type: heap_buffers")
	put("key_cache_size: 4MiB")
	put("counter_cache_size: 0MiB")
	put("file_cache_size: 32MiB")
	put("networking_cache_size: 32MiB")
	put("concurrent_reads: 8")
	put("concurrent_writes: 16")
	put("concurrent_compactors: 1")
	put("compaction_throughput: 64MiB/s")
	put("auto_snapshot: false")
	put("disk_access_mode: standard")
	put("hinted_handoff_enabled: true")
	b.WriteString(encryption)
	return b.String()
}

const encryption = `client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: true
  ssl_context_factory: {class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}
  keystore: "{sandbox}/node.pem"
  truststore: "{sandbox}/ca.pem"
  accepted_protocols: [TLSv1.2, TLSv1.3]
server_encryption_options:
  internode_encryption: all
  legacy_ssl_storage_port_enabled: false
  require_client_auth: true
  require_endpoint_verification: true
  ssl_context_factory: {class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}
  keystore: "{sandbox}/node.pem"
  outbound_keystore: "{sandbox}/node.pem"
  truststore: "{sandbox}/ca.pem"
  accepted_protocols: [TLSv1.2, TLSv1.3]
`

const logging = `<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %-5level [%thread] %logger{0}: %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="STDOUT"/></root>
  <logger name="org.apache.cassandra.service.CassandraDaemon" level="INFO"/>
  <logger name="org.apache.cassandra.transport" level="INFO"/>
</configuration>
`
