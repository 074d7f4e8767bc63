package file

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-project/weir/pipelines/column"
)

type sortKey struct {
	col  int
	down bool
}

// sortKeys are the named fields, then all others, so that the order of equal rows does not depend on how they arrived.
func sortKeys(s column.Schema, names []string) ([]sortKey, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var keys []sortKey
	used := make([]bool, len(s.Fields))
	for _, n := range names {
		name, down := strings.CutPrefix(n, "-")
		i := s.Index(name)
		if i < 0 {
			return nil, fmt.Errorf("sort by unknown field %q (fields: %s)", name, strings.Join(s.Names(), ", "))
		}
		keys, used[i] = append(keys, sortKey{i, down}), true
	}
	for i := range s.Fields {
		if !used[i] {
			keys = append(keys, sortKey{col: i})
		}
	}
	return keys, nil
}

// sorted is the order in which the rows are written.
func (s *Sink) sorted() []int32 {
	rows := make([]int32, s.rows.N)
	for i := range rows {
		rows[i] = int32(i)
	}
	if len(s.order) > 0 {
		slices.SortStableFunc(rows, s.compare)
	}
	return rows
}

func (s *Sink) compare(a, b int32) int {
	for _, k := range s.order {
		c := &s.rows.Cols[k.col]
		aNull, bNull := c.IsNull(int(a)), c.IsNull(int(b))
		switch {
		case aNull && bNull:
			continue
		case aNull:
			return 1
		case bNull:
			return -1
		}
		if v := compareValues(c, int(a), int(b)); v != 0 {
			if k.down {
				return -v
			}
			return v
		}
	}
	return 0
}

func compareValues(c *column.Column, a, b int) int {
	switch c.Kind {
	case column.Int64, column.Timestamp:
		return cmp.Compare(c.Ints[a], c.Ints[b])
	case column.Float64:
		return cmp.Compare(c.Floats[a], c.Floats[b])
	case column.Bool:
		switch {
		case c.Bools[a] == c.Bools[b]:
			return 0
		case c.Bools[b]:
			return -1
		}
		return 1
	}
	return bytes.Compare(c.At(a), c.At(b))
}
