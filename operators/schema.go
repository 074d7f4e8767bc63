package operators

import (
	"fmt"
	"slices"
	"strings"
)

// Topic is a Kafka topic as it shall be, or as it was read. Settings holds only what is meant; others may stand beside.
type Topic struct {
	Name        string            `json:"name"`
	Partitions  int               `json:"partitions"`
	Replication int               `json:"replication"`
	Settings    map[string]string `json:"settings,omitempty"`
}

// Differs says in what a topic that was read is not what t asks for; empty when it is. A topic that has more partitions is
// different too: which partition holds a key has changed. Replication is asked for when a topic is made and is no difference afterwards: a
// Kafka that grew has topics of the time before.
func (t Topic) Differs(have Topic) string {
	var out []string
	if have.Partitions != t.Partitions {
		out = append(out, fmt.Sprintf("partitions are %d and should be %d", have.Partitions, t.Partitions))
	}
	for _, k := range sortedKeys(t.Settings) {
		if have.Settings[k] != t.Settings[k] {
			out = append(out, fmt.Sprintf("%s is %q and should be %q", k, have.Settings[k], t.Settings[k]))
		}
	}
	return strings.Join(out, "; ")
}

// Keyspace is a Cassandra keyspace. DC empty is SimpleStrategy, else NetworkTopologyStrategy in that data centre.
type Keyspace struct {
	Name        string `json:"name"`
	Replication int    `json:"replication"`
	DC          string `json:"dc,omitempty"`
}

// Table is a Cassandra table with typed columns. Column types are CQL's: text, bigint, double, boolean, timestamp, blob.
type Table struct {
	Keyspace      string   `json:"keyspace"`
	Name          string   `json:"name"`
	Columns       []Column `json:"columns"`
	PartitionKey  []string `json:"partition_key"`
	ClusteringKey []string `json:"clustering_key,omitempty"`
}

// Column is one column of a table.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// ID is "keyspace.table".
func (t Table) ID() string { return t.Keyspace + "." + t.Name }

// Differs says in what a table that was read is not what t asks for. More columns beside do not matter.
func (t Table) Differs(have Table) string {
	var out []string
	types := map[string]string{}
	for _, c := range have.Columns {
		types[c.Name] = c.Type
	}
	for _, c := range t.Columns {
		switch got, ok := types[c.Name]; {
		case !ok:
			out = append(out, fmt.Sprintf("column %q is missing", c.Name))
		case got != c.Type:
			out = append(out, fmt.Sprintf("column %q is %s and should be %s", c.Name, got, c.Type))
		}
	}
	if !slices.Equal(t.PartitionKey, have.PartitionKey) {
		out = append(out, fmt.Sprintf("its partition key is %v and should be %v", have.PartitionKey, t.PartitionKey))
	}
	if !slices.Equal(t.ClusteringKey, have.ClusteringKey) {
		out = append(out, fmt.Sprintf("its clustering key is %v and should be %v", have.ClusteringKey, t.ClusteringKey))
	}
	return strings.Join(out, "; ")
}

// DDL is the statement that makes the table where it is missing. Identifiers are quoted, so that their case and reserved words hold.
func (t Table) DDL() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s.%s (", Quote(t.Keyspace), Quote(t.Name))
	for _, c := range t.Columns {
		fmt.Fprintf(&b, "%s %s, ", Quote(c.Name), c.Type)
	}
	fmt.Fprintf(&b, "PRIMARY KEY ((%s)", quoteAll(t.PartitionKey))
	if len(t.ClusteringKey) > 0 {
		b.WriteString(", " + quoteAll(t.ClusteringKey))
	}
	b.WriteString("))")
	return b.String()
}

// DDL is the statement that makes the keyspace where it is missing.
func (k Keyspace) DDL() string {
	how := fmt.Sprintf("{'class': 'SimpleStrategy', 'replication_factor': %d}", k.Replication)
	if k.DC != "" {
		how = fmt.Sprintf("{'class': 'NetworkTopologyStrategy', '%s': %d}", strings.ReplaceAll(k.DC, "'", "''"), k.Replication)
	}
	return fmt.Sprintf("CREATE KEYSPACE IF NOT EXISTS %s WITH replication = %s", Quote(k.Name), how)
}

// Quote is a CQL identifier in double quotes.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteAll(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = Quote(n)
	}
	return strings.Join(out, ", ")
}
