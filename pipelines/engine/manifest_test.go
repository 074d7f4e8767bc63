package engine

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weir-project/weir/pipelines/checkpoint"
)

// A manifest that was cut off, or goes on, or says other sizes than it has, is refused; so is one of another version.
func TestADamagedManifestIsRefused(t *testing.T) {
	m := manifest{Version: manifestVersion, Fingerprint: "f", Term: 3, Next: 9, Outbox: []checkpoint.OutboxEntry{{Offset: 7, Value: []byte("a\nb")}, {Offset: 8, Value: nil}, {Offset: 8, Value: []byte{0, 255}}}}
	var buf bytes.Buffer
	if err := m.writeTo(&buf); err != nil {
		t.Fatal(err)
	}
	var back manifest
	if err := back.parse(buf.Bytes()); err != nil || fmt.Sprint(back.Outbox) != fmt.Sprint(m.Outbox) || back.Next != 9 || back.Term != 3 {
		t.Errorf("%v: %+v", err, back)
	}
	whole := buf.String()
	for text, want := range map[string]string{
		whole[:len(whole)-1]: "are left",
		whole + "x":          "1 bytes are left behind",
		strings.Replace(whole, `"version":2`, `"version":1`, 1): "version is 1",
		strings.Replace(whole, `"size":3`, `"size":-3`, 1):      "has -3 bytes",
		"": "unexpected end",
	} {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/m", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openManifest(root, "m", "f"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	}
}
