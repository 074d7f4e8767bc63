package admin

import (
	"context"
	"sort"
	"strconv"
	"strings"

	"github.com/weir-project/weir/operators"
)

// own are Cassandra's keyspaces.
func own(keyspace string) bool { return keyspace == "system" || strings.HasPrefix(keyspace, "system_") }

func readKeyspaces(ctx context.Context, s session) (map[string]operators.Keyspace, error) {
	rows := s.Query("SELECT keyspace_name, replication FROM system_schema.keyspaces").WithContext(ctx).Iter()
	out := map[string]operators.Keyspace{}
	var name string
	var replication map[string]string
	for rows.Scan(&name, &replication) {
		if !own(name) {
			out[name] = keyspace(name, replication)
		}
	}
	return out, rows.Close()
}

func keyspace(name string, replication map[string]string) operators.Keyspace {
	k := operators.Keyspace{Name: name}
	for key, value := range replication {
		n, err := strconv.Atoi(value)
		if err != nil {
			continue // its class
		}
		k.Replication = n
		if key != "replication_factor" {
			k.DC = key
		}
	}
	return k
}

// placed is a column's place in a key.
type placed struct {
	name     string
	position int
}

func readTables(ctx context.Context, s session) (map[string]operators.Table, error) {
	rows := s.Query("SELECT keyspace_name, table_name, column_name, type, kind, position FROM system_schema.columns").WithContext(ctx).Iter()
	out := map[string]operators.Table{}
	partition, clustering := map[string][]placed{}, map[string][]placed{}
	var t operators.Table
	var c operators.Column
	var kind string
	var position int
	for rows.Scan(&t.Keyspace, &t.Name, &c.Name, &c.Type, &kind, &position) {
		if own(t.Keyspace) {
			continue
		}
		id := t.ID()
		have, ok := out[id]
		if !ok {
			have = t
		}
		have.Columns = append(have.Columns, c)
		out[id] = have
		switch at := (placed{c.Name, position}); kind {
		case "partition_key":
			partition[id] = append(partition[id], at)
		case "clustering":
			clustering[id] = append(clustering[id], at)
		}
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	for id, t := range out {
		t.PartitionKey, t.ClusteringKey = inOrder(partition[id]), inOrder(clustering[id])
		out[id] = t
	}
	return out, nil
}

func inOrder(all []placed) []string {
	sort.Slice(all, func(i, j int) bool { return all[i].position < all[j].position })
	var out []string
	for _, p := range all {
		out = append(out, p.name)
	}
	return out
}
