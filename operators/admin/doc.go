// Package admin holds the calls that observe and change a running Kafka or Cassandra. What is observed comes back as facts, known at a
// time or unknown with the reason; what is changed is idempotent, and read back before the call says that it is done.
//
// It decides nothing and retries nothing beyond what the protocol itself asks for: the plan's next pass does. Every call is bounded by
// its context, every error names the address and the cause, and no password stands in an error.
//
//	facts := admin.Kafka{Address: at.Endpoint("client"), User: kafka.ClientUser, Password: password}.Observe(ctx, now)
//	err := admin.Kafka{…}.EnsureTopics(ctx, topics)
package admin
