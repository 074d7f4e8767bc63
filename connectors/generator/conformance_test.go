package generator

import (
	"fmt"
	"testing"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/connectors/connectortest"
	"github.com/weir-project/weir/pipelines/physical"
)

func TestASourceKeepsEveryClaim(t *testing.T) {
	connectortest.TestSource(t, connectortest.Source{Bounded: true, Ordered: true, Numbers: Field, Place: func(_ testing.TB, rows []connectortest.Row) *connectortest.SourcePlace {
		config := fmt.Sprintf(`{"start": %d, "end": %d}`, rows[0].ID, rows[len(rows)-1].ID+1)
		return &connectortest.SourcePlace{Open: func() (connectors.Source, error) {
			return New(physical.ReadConfig{Config: []byte(config), Schema: schema})
		}}
	}})
}
