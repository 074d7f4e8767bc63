package kafka

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/resources"
)

// Env is what the machine that launches has, found by operators/artifact, and where the controller is.
type Env struct {
	Java    string // absolute path of the java of a JDK 17
	Libs    string // absolute directory of Kafka's jars
	Archive string // class data archive (kafka.jsa) of this JDK and these jars; empty: none

	Controller string // host:port of the first broker's controller listener, which the others join; the first needs none
}

// Secrets are what a broker must know. They are made once for a service and kept sealed (C1), the certificate anew for each launch.
type Secrets struct {
	ClusterID      string // 22 characters of base64url, the cluster's for ever
	BrokerPassword string // of BrokerUser, with which brokers log in to each other
	BrokerScram    string // value of --add-scram for BrokerUser
	ClientScram    string // value of --add-scram for ClientUser
	ControllerName string // the certificates' common name, one for all brokers: a super user of the controller
	NodePEM        []byte // PKCS#8 key, certificate and authority, for the placement's address
	CAPEM          []byte
}

// Command is how a broker is started at a placement. The volume is formatted once, into a directory beside, and put in place by a rename: a
// format that was interrupted leaves nothing that a later one would trip over (I4).
func Command(l operators.Launch, at operators.Placement, env Env, s Secrets) (operators.TaskSpec, error) {
	if at.Ports[ClientPort] == 0 || first(l) && at.Ports[ControllerPort] == 0 || at.Volume == "" {
		return operators.TaskSpec{}, fmt.Errorf("build the command of %s: its placement has no %s port, %s port or volume (ports %v, volume %q)",
			l.Pod.Name(), ClientPort, ControllerPort, at.Ports, at.Volume)
	}
	if !first(l) && env.Controller == "" {
		return operators.TaskSpec{}, fmt.Errorf("build the command of %s: where the controller of %s listens is not known yet", l.Pod.Name(), l.Pod.Service)
	}
	// The client listener has SCRAM and no TLS: passwords are safe in it, data is not (D12).
	if a, err := netip.ParseAddr(at.Address); err != nil || !a.IsLoopback() {
		return operators.TaskSpec{}, fmt.Errorf("build the command of %s: address %q is no loopback address, and its client listener has no TLS", l.Pod.Name(), at.Address)
	}
	home := "{volume:" + at.Volume + "}"
	done := home + "/log/meta.properties"
	props := properties(l, at, env, s)
	return operators.TaskSpec{
		Command: resources.Command{
			Argv: append(append([]string{env.Java}, jvm(l.Pod.MemMiB, env)...),
				"-cp", env.Libs+"/*", "kafka.Kafka", "{sandbox}/server.properties"),
			DropIPC: true,
			Prepare: []resources.Prepare{
				{Argv: []string{"rm", "-rf", home + "/format"}, Creates: done},
				// The output of the format shows SCRAM keys.
				{Argv: []string{env.Java, "@{sandbox}/format.args"}, Creates: done, Quiet: true},
				{Argv: []string{"mv", home + "/format", home + "/log"}, Creates: done},
			},
		},
		Files: []resources.File{
			secret("server.properties", props+"log.dirs="+home+"/log\n"),
			secret("format.properties", props+"log.dirs="+home+"/format\n"),
			secret("format.args", formatArgs(l, env, s)),
			secret("node.pem", string(s.NodePEM)),
			secret("ca.pem", string(s.CAPEM)),
			secret("log4j2.properties", logging),
		},
	}, nil
}

func secret(path, content string) resources.File {
	return resources.File{Path: path, Mode: 0o600, Content: []byte(content)}
}

// jvm: the serial collector and the first compiler tier alone make a broker answer in 2.0 s and 256 MB instead of 3.2 s and 512 MB.
func jvm(memMiB int64, env Env) []string {
	heap := heapMiB(memMiB)
	args := []string{
		fmt.Sprintf("-Xms%dm", heap), fmt.Sprintf("-Xmx%dm", heap), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true",
		"-Dlog4j2.configurationFile={sandbox}/log4j2.properties",
	}
	if env.Archive != "" {
		// A missing or unfit archive is passed over in silence by the JVM (-Xshare:auto).
		args = append(args, "-XX:SharedArchiveFile="+env.Archive)
	}
	return args
}

// heapMiB is half of the task's memory: page tables, code, threads and network buffers take the rest.
func heapMiB(memMiB int64) int64 { return max(128, memMiB/2) }

// formatArgs is a JVM's argument file, because an argument list can be read by anyone on the host.
func formatArgs(l operators.Launch, env Env, s Secrets) string {
	args := []string{
		"-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData",
		"-Dlog4j2.configurationFile={sandbox}/log4j2.properties",
		"-cp", quoted(env.Libs + "/*"), "kafka.tools.StorageTool", "format",
		"--cluster-id", s.ClusterID, "-c", quoted("{sandbox}/format.properties"),
	}
	if !first(l) {
		// It finds the voters, and the accounts, in the log that it reads from them.
		return lines(append(args, "--no-initial-controllers")...)
	}
	return lines(append(args, "--standalone", "--add-scram", quoted(s.BrokerScram), "--add-scram", quoted(s.ClientScram))...)
}

// first: the broker of index 0 is the controller too, alone in its quorum; the others are brokers alone (ADR 5).
func first(l operators.Launch) bool { return l.Pod.Index == 0 }

// quoted is an argument in a JVM's argument file, where blanks end one and a backslash escapes.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func lines(all ...string) string { return strings.Join(all, "\n") + "\n" }

func properties(l operators.Launch, at operators.Placement, env Env, s Secrets) string {
	replicas, isr := l.Spec.KafkaReplication(), 1
	if replicas == 3 {
		isr = 2
	}
	roles, controller, listeners := "broker", env.Controller, "CLIENT://"+at.Endpoint(ClientPort)
	if first(l) {
		roles, controller = "broker,controller", at.Endpoint(ControllerPort)
		listeners += ",CONTROLLER://" + controller
	}
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	put("process.roles=%s", roles)
	put("node.id=%d", l.Pod.Index)
	put("controller.quorum.bootstrap.servers=%s", controller)
	put("listeners=%s", listeners)
	put("advertised.listeners=%s", listeners)
	put("inter.broker.listener.name=CLIENT")
	put("controller.listener.names=CONTROLLER")
	put("listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:SSL")
	put("sasl.enabled.mechanisms=SCRAM-SHA-512")
	put("sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512")
	put("listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512")
	put(`listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="%s" password="%s";`, BrokerUser, s.BrokerPassword)
	// SCRAM between controllers cannot elect a leader after a full restart: the credentials are in the log that needs the leader.
	put("listener.name.controller.ssl.client.auth=required")
	put("listener.name.controller.ssl.keystore.type=PEM")
	put("listener.name.controller.ssl.keystore.location={sandbox}/node.pem")
	put("listener.name.controller.ssl.truststore.type=PEM")
	put("listener.name.controller.ssl.truststore.location={sandbox}/ca.pem")
	put(`listener.name.controller.ssl.principal.mapping.rules=RULE:^CN=([^,]+),OU=kafka,.*$/$1/,DEFAULT`)
	put("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer")
	put("super.users=User:%s;User:%s;User:%s", BrokerUser, ClientUser, s.ControllerName)
	put("allow.everyone.if.no.acl.found=false")
	put("auto.create.topics.enable=false")
	for _, k := range []string{"default.replication.factor", "offsets.topic.replication.factor", "transaction.state.log.replication.factor", "share.coordinator.state.topic.replication.factor"} {
		put("%s=%d", k, replicas)
	}
	for _, k := range []string{"min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"} {
		put("%s=%d", k, isr)
	}
	for _, k := range []string{"offsets.topic.num.partitions", "transaction.state.log.num.partitions", "share.coordinator.state.topic.num.partitions"} {
		put("%s=5", k)
	}
	put("group.initial.rebalance.delay.ms=0")
	put("log.cleaner.dedupe.buffer.size=2097152")
	put("num.network.threads=1\nnum.io.threads=2\nnum.replica.fetchers=1")
	// With the default of 9 s a broker that was killed is refused as a duplicate of itself for that long.
	put("broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500")
	return b.String()
}

const logging = `status = warn
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = STDOUT
logger.start.name = kafka.server.KafkaRaftServer
logger.start.level = info
logger.broker.name = kafka.server.BrokerServer
logger.broker.level = info
`
