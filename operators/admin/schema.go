package admin

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/weir-project/weir/operators"
)

// own are Cassandra's keyspaces.
func own(keyspace string) bool { return keyspace == "system" || strings.HasPrefix(keyspace, "system_") }

func readKeyspaces(conn io.ReadWriter) (map[string]operators.Keyspace, error) {
	all, err := query(conn, "SELECT keyspace_name, replication FROM system_schema.keyspaces")
	if err != nil {
		return nil, err
	}
	out := map[string]operators.Keyspace{}
	for _, row := range all {
		k := operators.Keyspace{Name: string(row[0])}
		if own(k.Name) {
			continue
		}
		replication, err := textMap(row[1])
		if err != nil {
			return nil, fmt.Errorf("read the replication of keyspace %s: %w", k.Name, err)
		}
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
		out[k.Name] = k
	}
	return out, nil
}

// textMap decodes a map<text, text>: a count, then each key and value with its length.
func textMap(b []byte) (map[string]string, error) {
	next := func() (string, bool) {
		if len(b) < 4 {
			return "", false
		}
		n := int(int32(binary.BigEndian.Uint32(b)))
		if n < 0 || n > len(b)-4 {
			return "", false
		}
		s := string(b[4 : 4+n])
		b = b[4+n:]
		return s, true
	}
	if len(b) < 4 {
		return nil, fmt.Errorf("a map of %d bytes", len(b))
	}
	count := int(int32(binary.BigEndian.Uint32(b)))
	b = b[4:]
	out := map[string]string{}
	for range count {
		key, ok := next()
		value, ok2 := next()
		if !ok || !ok2 {
			return nil, fmt.Errorf("a map that ends before its %d entries", count)
		}
		out[key] = value
	}
	return out, nil
}

// agree waits until all nodes have the schema of the one that was asked.
func agree(ctx context.Context, conn io.ReadWriter) error {
	for {
		local, err := query(conn, "SELECT schema_version FROM system.local")
		if err != nil {
			return err
		}
		peers, err := query(conn, "SELECT schema_version FROM system.peers_v2")
		if err != nil {
			return err
		}
		differ := 0
		for _, p := range peers {
			if len(local) != 1 || !bytes.Equal(p[0], local[0][0]) {
				differ++
			}
		}
		if differ == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d other nodes have another version: %w", differ, len(peers), context.Cause(ctx))
		case <-time.After(settle):
		}
	}
}

// placed is a column's place in a key.
type placed struct {
	name     string
	position int
}

func readTables(conn io.ReadWriter) (map[string]operators.Table, error) {
	all, err := query(conn, "SELECT keyspace_name, table_name, column_name, type, kind, position FROM system_schema.columns")
	if err != nil {
		return nil, err
	}
	out := map[string]operators.Table{}
	partition, clustering := map[string][]placed{}, map[string][]placed{}
	for _, row := range all {
		t := operators.Table{Keyspace: string(row[0]), Name: string(row[1])}
		if own(t.Keyspace) {
			continue
		}
		id := t.ID()
		if have, ok := out[id]; ok {
			t = have
		}
		t.Columns = append(t.Columns, operators.Column{Name: string(row[2]), Type: string(row[3])})
		out[id] = t
		at := placed{name: string(row[2])}
		if len(row[5]) == 4 {
			at.position = int(int32(binary.BigEndian.Uint32(row[5])))
		}
		switch string(row[4]) {
		case "partition_key":
			partition[id] = append(partition[id], at)
		case "clustering":
			clustering[id] = append(clustering[id], at)
		}
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
