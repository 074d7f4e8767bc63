package column

import "testing"

var two = Schema{Fields: []Field{{Name: "s", Kind: String}, {Name: "n", Kind: Int64, Nullable: true}}}

func TestABorrowedBufferIsNeverWritten(t *testing.T) {
	fetched := []byte("ORDLAX-----")
	whole := string(fetched)
	b := NewBatch(&two, 4)
	c := &b.Cols[0]
	c.Borrow(fetched[:6])
	c.AppendSpan(0, 3)
	c.AppendString([]byte("SFO")) // copies the buffer first
	c.AppendSpan(3, 3)
	if got := string(c.At(0)) + string(c.At(1)) + string(c.At(2)); got != "ORDSFOLAX" {
		t.Errorf("got %s", got)
	}
	b.Reset()
	c.AppendString([]byte("XXXXXXXXXXX"))
	b.Reset()
	c.Borrow(fetched)
	b.Reset()
	c.AppendString([]byte("YYYYYYYYYYY"))
	if string(fetched) != whole {
		t.Errorf("the lender's bytes became %s", fetched)
	}
}

func TestNullsArePaddedFromTheFirstOn(t *testing.T) {
	b := NewBatch(&two, 4)
	c := &b.Cols[1]
	c.AppendInt(1)
	if c.IsNull(0) || len(c.Null) != 0 {
		t.Errorf("a column without nulls keeps %d marks", len(c.Null))
	}
	c.AppendNull()
	c.AppendInt(3)
	if c.IsNull(0) || !c.IsNull(1) || c.IsNull(2) || c.Len() != 3 {
		t.Errorf("marks %v of %d values", c.Null, c.Len())
	}
}

func TestRowsFollowTheSelection(t *testing.T) {
	b := NewBatch(&two, 4)
	b.N = 4
	for _, c := range []struct {
		sel  []int32
		want int
	}{{nil, 0 + 1 + 2 + 3}, {[]int32{}, 0}, {[]int32{1, 3}, 4}} {
		b.Sel = c.sel
		sum, n := 0, 0
		b.Rows(func(i int) { sum, n = sum+i, n+1 })
		if sum != c.want || n != b.Len() {
			t.Errorf("selection %v: sum %d of %d rows, Len %d", c.sel, sum, n, b.Len())
		}
	}
}

func TestKindsSpellThemselvesAsBeamYAMLDoes(t *testing.T) {
	for k := Bool; k <= Timestamp; k++ {
		text, err := k.MarshalText()
		var back Kind
		if err != nil || back.UnmarshalText(text) != nil || back != k || k.String() == "invalid" {
			t.Errorf("%d -> %s -> %d", k, text, back)
		}
	}
	k := String
	if err := k.UnmarshalText([]byte("nonsense")); err != nil || k != Invalid {
		t.Errorf("nonsense became %s, %v", k, err)
	}
}
