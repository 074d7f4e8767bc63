package store

import (
	"errors"
	"fmt"
	"os"

	"github.com/weir-project/weir/internal/security"
)

// markFile says that a log was made in this directory, and up to which revision it was seen. The embedded server cuts off
// what it finds damaged and goes on; without the mark a damaged store would pass for a younger or an empty one, and everything
// decided since would be decided again (I3). It is written at Open and at Close and not with each write, so it shows damage to
// what was there then; later writes are covered by their own fsync alone.
const markFile = "mark"

const markForm = "weir-store 1 revision %d\n"

func readMark(root *os.Root) (made bool, revision Revision, err error) {
	data, err := root.ReadFile(markFile)
	if errors.Is(err, os.ErrNotExist) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	if _, err := fmt.Sscanf(string(data), markForm, &revision); err != nil {
		return false, 0, fmt.Errorf("read %s: %.60q is not of a form that this program knows: %w", markFile, data, err)
	}
	return true, revision, nil
}

func writeMark(root *os.Root, revision Revision) error {
	return security.WriteFile(root, markFile, fmt.Appendf(nil, markForm, revision), 0o600)
}
