package kernel

import (
	"encoding/json"
	"fmt"

	"github.com/weir-project/weir/pipelines/physical"
)

// Config reads a node's configuration.
func Config[T any](n physical.Node) (T, error) {
	var c T
	if len(n.Config) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(n.Config, &c); err != nil {
		return c, fmt.Errorf("%s: read its configuration: %w", n.Path, err)
	}
	return c, nil
}

// wrong puts the node in front of an error.
func wrong(n physical.Node, err error) error { return fmt.Errorf("%s: %w", n.Path, err) }
