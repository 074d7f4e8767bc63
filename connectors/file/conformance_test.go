package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-project/weir/connectors"
	"github.com/weir-project/weir/connectors/connectortest"
	"github.com/weir-project/weir/pipelines/checkpoint"
	"github.com/weir-project/weir/pipelines/column"
	"github.com/weir-project/weir/pipelines/physical"
)

func TestASourceKeepsEveryClaim(t *testing.T) {
	connectortest.TestSource(t, connectortest.Source{Bounded: true, Ordered: true, Ahead: 4 << 20, Place: func(t testing.TB, rows []connectortest.Row) *connectortest.SourcePlace {
		dir := t.TempDir()
		var text []byte
		for _, r := range rows {
			text = append(append(text, r.JSON()...), '\n')
		}
		name := filepath.Join(dir, "rows.json")
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return &connectortest.SourcePlace{
			Open: func() (connectors.Source, error) {
				root, err := os.OpenRoot(dir)
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { root.Close() })
				return Open(physical.ReadConfig{Connector: "file", Format: "json", Schema: connectortest.Schema, Config: []byte(`{"path": "` + name + `"}`)}, root)
			},
			Garbage: func() error { return os.WriteFile(name, append(text, `{"id": "seven"`...), 0o644) },
			Named:   "line 501",
		}
	}})
}

func TestASinkKeepsEveryClaim(t *testing.T) {
	connectortest.TestSink(t, connectortest.Sink{AtEnd: true, Ordered: true, Entries: true, Place: func(t testing.TB) *connectortest.SinkPlace {
		dir := t.TempDir()
		name := filepath.Join(dir, "rows.csv")
		grant := func() (*os.Root, error) {
			root, err := os.OpenRoot(dir)
			if err == nil {
				t.Cleanup(func() { root.Close() })
			}
			return root, err
		}
		config := []byte(`{"path": "` + name + `"}`)
		return &connectortest.SinkPlace{
			Open: func(context.Context) (connectors.Outbox, error) {
				root, err := grant()
				if err != nil {
					return nil, err
				}
				return NewSink(physical.WriteConfig{Connector: "file", Format: "csv", Config: config}, connectortest.Schema, root, []string{"id"}, "p/s/f0/0")
			},
			Read: func(ctx context.Context) ([]connectortest.Row, error) {
				root, err := grant()
				if err != nil {
					return nil, err
				}
				src, err := Open(physical.ReadConfig{Connector: "file", Format: "csv", Schema: connectortest.Schema, Config: config}, root)
				if err != nil {
					return nil, err
				}
				r, err := src.Open(ctx, connectors.Split{ID: "rows.csv"}, checkpoint.Position{})
				if errors.Is(err, fs.ErrNotExist) {
					return nil, nil
				}
				if err != nil {
					return nil, err
				}
				b := column.NewBatch(&connectortest.Schema, 1024)
				if _, err := r.Read(ctx, b, 10000); err != nil {
					return nil, err
				}
				return connectortest.RowsOf(b), r.Close()
			},
		}
	}})
}
