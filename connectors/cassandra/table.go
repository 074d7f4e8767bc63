package cassandra

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gocql/gocql"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// cqlTypes are the types of columns.
var cqlTypes = map[column.Kind]string{column.String: "text", column.Int64: "bigint", column.Float64: "double", column.Bool: "boolean",
	column.Timestamp: "timestamp", column.Bytes: "blob"}

// driverTypes are what a prepared statement says of such a column.
var driverTypes = map[column.Kind]gocql.Type{column.String: gocql.TypeVarchar, column.Int64: gocql.TypeBigInt, column.Float64: gocql.TypeDouble,
	column.Bool: gocql.TypeBoolean, column.Timestamp: gocql.TypeTimestamp, column.Bytes: gocql.TypeBlob}

// Type is the CQL type of a column of a kind: text, bigint, double, boolean, timestamp, blob; "" for none.
func Type(k column.Kind) string { return cqlTypes[k] }

// CreateTable is the statement that makes a channel's table where it is missing. Every identifier is quoted, so that its case and reserved words hold.
// It is "" for a channel that is no table.
func CreateTable(ch physical.Channel) string {
	t := ch.Cassandra
	if t == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s.%s (", quoted(t.Keyspace), quoted(t.Table))
	for _, f := range ch.Schema.Fields {
		fmt.Fprintf(&b, "%s %s, ", quoted(f.Name), cqlTypes[f.Kind])
	}
	fmt.Fprintf(&b, "PRIMARY KEY ((%s)", list(t.PartitionKey))
	if len(t.ClusteringKey) > 0 {
		b.WriteString(", " + list(t.ClusteringKey))
	}
	b.WriteString("))")
	return b.String()
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func list(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = quoted(n)
	}
	return strings.Join(out, ", ")
}

// table is a channel's table with the columns of a schema.
type table struct {
	name      string // quoted, with its keyspace
	plain     string // for errors
	fields    []column.Field
	partition []int // places of the partition key in fields
	cluster   []int
	key       []string // names of the partition key
}

func newTable(ch physical.Channel, s column.Schema) (*table, error) {
	c := ch.Cassandra
	if c == nil {
		return nil, fmt.Errorf("channel %q is no cassandra table", ch.Name)
	}
	t := &table{name: quoted(c.Keyspace) + "." + quoted(c.Table), plain: c.Keyspace + "." + c.Table, fields: s.Fields, key: c.PartitionKey}
	if len(c.PartitionKey) == 0 {
		return nil, errors.New("table " + t.plain + " has no partition key")
	}
	for _, f := range s.Fields {
		if cqlTypes[f.Kind] == "" {
			return nil, fmt.Errorf("table %s: field %q has type %s, which is no column's", t.plain, f.Name, f.Kind)
		}
	}
	var err error
	if t.partition, err = t.places(s, c.PartitionKey); err != nil {
		return nil, err
	}
	t.cluster, err = t.places(s, c.ClusteringKey)
	return t, err
}

func (t *table) places(s column.Schema, names []string) ([]int, error) {
	var out []int
	for _, n := range names {
		i := s.Index(n)
		if i < 0 {
			return nil, fmt.Errorf("table %s: its key has %q, and the rows have only %s", t.plain, n, strings.Join(s.Names(), ", "))
		}
		out = append(out, i)
	}
	return out, nil
}

func (t *table) columns() string {
	names := make([]string, len(t.fields))
	for i, f := range t.fields {
		names[i] = f.Name
	}
	return list(names)
}

// valueError is a value or a column that no retry makes right.
type valueError struct{ msg string }

func (e *valueError) Error() string { return e.msg }

func failValue(format string, args ...any) error { return &valueError{fmt.Sprintf(format, args...)} }

// checkType compares a column's type with the field's: a wrong one would be filled with bytes that mean something else.
func checkType(f column.Field, info gocql.TypeInfo) error {
	if want := driverTypes[f.Kind]; info.Type() != want {
		return failValue("column %q is %s and should be %s", f.Name, info.Type(), cqlTypes[f.Kind])
	}
	return nil
}
