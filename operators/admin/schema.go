package admin

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"

	"github.com/weir-project/weir/operators"
)

func (c Cassandra) schema(ctx context.Context, now time.Time) (operators.Fact[map[string]operators.Keyspace], operators.Fact[map[string]operators.Table]) {
	s, err := c.session(ctx)
	if err != nil {
		why := c.failed("read the schema", err).Error()
		return operators.Unknown[map[string]operators.Keyspace](why), operators.Unknown[map[string]operators.Table](why)
	}
	defer s.Close()
	keyspaces, err := readKeyspaces(ctx, s)
	if err != nil {
		why := c.failed("read the keyspaces", err).Error()
		return operators.Unknown[map[string]operators.Keyspace](why), operators.Unknown[map[string]operators.Table](why)
	}
	tables, err := readTables(ctx, s)
	if err != nil {
		return operators.Know(keyspaces, now), operators.Unknown[map[string]operators.Table](c.failed("read the tables", err).Error())
	}
	return operators.Know(keyspaces, now), operators.Know(tables, now)
}

// own are Cassandra's keyspaces.
func own(keyspace string) bool { return keyspace == "system" || strings.HasPrefix(keyspace, "system_") }

func readKeyspaces(ctx context.Context, s *gocql.Session) (map[string]operators.Keyspace, error) {
	out := map[string]operators.Keyspace{}
	it := s.Query("SELECT keyspace_name, replication FROM system_schema.keyspaces").WithContext(ctx).Iter()
	var name string
	var replication map[string]string
	for it.Scan(&name, &replication) {
		if own(name) {
			continue
		}
		k := operators.Keyspace{Name: name}
		for key, value := range replication {
			n, err := strconv.Atoi(value)
			if err != nil {
				continue // class
			}
			k.Replication = n
			if key != "replication_factor" {
				k.DC = key
			}
		}
		out[name] = k
	}
	return out, it.Close()
}

func readTables(ctx context.Context, s *gocql.Session) (map[string]operators.Table, error) {
	type placed struct {
		name     string
		position int
	}
	out := map[string]operators.Table{}
	partition, clustering := map[string][]placed{}, map[string][]placed{}
	it := s.Query("SELECT keyspace_name, table_name, column_name, type, kind, position FROM system_schema.columns").WithContext(ctx).Iter()
	var keyspace, table, column, kind, as string
	var position int
	for it.Scan(&keyspace, &table, &column, &as, &kind, &position) {
		if own(keyspace) {
			continue
		}
		t := operators.Table{Keyspace: keyspace, Name: table}
		id := t.ID()
		if have, ok := out[id]; ok {
			t = have
		}
		t.Columns = append(t.Columns, operators.Column{Name: column, Type: as})
		out[id] = t
		switch kind {
		case "partition_key":
			partition[id] = append(partition[id], placed{column, position})
		case "clustering":
			clustering[id] = append(clustering[id], placed{column, position})
		}
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("read system_schema.columns: %w", err)
	}
	names := func(all []placed) []string {
		sort.Slice(all, func(i, j int) bool { return all[i].position < all[j].position })
		var out []string
		for _, p := range all {
			out = append(out, p.name)
		}
		return out
	}
	for id, t := range out {
		t.PartitionKey, t.ClusteringKey = names(partition[id]), names(clustering[id])
		out[id] = t
	}
	return out, nil
}
