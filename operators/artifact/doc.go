// Package artifact brings the programs that Weir runs onto this machine: the jars of Kafka and Cassandra by Maven's ordinary client, from pom
// files that the repository carries, and a JDK 17 that is already installed. Every jar is checked against a SHA-512 lock that the
// repository carries; what was checked is kept once per machine under the XDG cache home.
//
// It never runs what it did not check, never installs a Java or a Maven (its errors say what to type), never takes `java` from the
// path, and leaves nothing half made where another process looks for it.
//
//	java, err := artifact.FindJava(artifact.JavaVersion, artifact.DefaultLook())
//	store := artifact.Store{Dir: dir, JavaHome: java.Home, Progress: show}
//	jars, err := store.Resolve(ctx, artifact.Kafka)   // jars.Dir, to be used as "<dir>/*" on a class path
package artifact
