package cassandra

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gocql/gocql"

	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

// driverTypes are what a prepared statement says of a column that a field is kept in. Tables are made by operators.Table.
var driverTypes = map[column.Kind]gocql.Type{column.String: gocql.TypeVarchar, column.Int64: gocql.TypeBigInt, column.Float64: gocql.TypeDouble,
	column.Bool: gocql.TypeBoolean, column.Timestamp: gocql.TypeTimestamp, column.Bytes: gocql.TypeBlob}

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
		if _, ok := driverTypes[f.Kind]; !ok {
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
		return failValue("column %q is %s and should be %s", f.Name, info.Type(), want)
	}
	return nil
}
