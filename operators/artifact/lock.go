package artifact

import (
	"crypto/sha256"
	"crypto/sha512"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weir-project/weir/internal/fault"
)

//go:embed poms/*.xml locks/*.lock
var carried embed.FS

// Set is a program of a version, with a pom and a lock in the repository.
type Set struct {
	Name    string
	Version string
}

// The sets that Weir runs.
var (
	Kafka     = Set{Name: "kafka", Version: "4.3.1"}
	Cassandra = Set{Name: "cassandra", Version: "5.0.9"}
)

// Sets are all of them.
var Sets = []Set{Kafka, Cassandra}

// For is the set of an operator's version as a stack writes it ("4.3").
func For(operator, version string) (Set, error) {
	var known []string
	for _, s := range Sets {
		short := s.Version[:strings.LastIndexByte(s.Version, '.')]
		if s.Name == operator && (version == short || version == s.Version || version == "") {
			return s, nil
		}
		known = append(known, s.Name+" "+short)
	}
	return Set{}, fault.Invalid("E-VERSION", "find the artifacts of", operator+" "+version, fault.Causef("no such version is pinned (pinned: %s)", strings.Join(known, ", ")))
}

func (s Set) String() string { return s.Name + " " + s.Version }

func (s Set) file() string { return s.Name + "-" + s.Version }

func (s Set) pom() ([]byte, error) { return carried.ReadFile("poms/" + s.file() + ".xml") }

// Jar is one line of a lock.
type Jar struct {
	Name   string
	Size   int64
	SHA512 string
}

// lock is the set's jars, and a key that changes with any of them.
func (s Set) lock() ([]Jar, string, error) {
	data, err := carried.ReadFile("locks/" + s.file() + ".lock")
	if err != nil {
		return nil, "", fmt.Errorf("read the lock of %s: %w", s, err)
	}
	jars, err := parseLock(string(data))
	if err != nil {
		return nil, "", fmt.Errorf("read the lock of %s: %w", s, err)
	}
	sum := sha256.Sum256(data)
	return jars, hex.EncodeToString(sum[:6]), nil
}

// parseLock reads lines of "sha512 size name".
func parseLock(text string) ([]Jar, error) {
	var out []Jar
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 || len(f[0]) != 2*sha512.Size || filepath.Base(f[2]) != f[2] {
			return nil, fmt.Errorf("line %d is not \"sha512 size name\": %.60q", i+1, line)
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: size %q is not a number", i+1, f[1])
		}
		out = append(out, Jar{Name: f[2], Size: size, SHA512: f[0]})
	}
	return out, nil
}

func formatLock(jars []Jar) string {
	var b strings.Builder
	for _, j := range jars {
		fmt.Fprintf(&b, "%s %d %s\n", j.SHA512, j.Size, j.Name)
	}
	return b.String()
}

// hashJar reads a jar whole.
func hashJar(path string) (Jar, error) {
	f, err := os.Open(path)
	if err != nil {
		return Jar{}, fmt.Errorf("open jar: %w", err)
	}
	h := sha512.New()
	n, err := io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return Jar{}, fmt.Errorf("read jar %s: %w", path, err)
	}
	return Jar{Name: filepath.Base(path), Size: n, SHA512: hex.EncodeToString(h.Sum(nil))}, nil
}

// verify compares a directory with the lock: every jar of it, and no other.
func verify(dir string, want []Jar, fix string) error {
	byName := map[string]Jar{}
	for _, j := range want {
		byName[j.Name] = j
		got, err := hashJar(filepath.Join(dir, j.Name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fault.New("E-ARTIFACT", "verify", j.Name, fault.Causef("it is missing in %s", dir), fault.Hint(fix))
		case err != nil:
			return fault.New("E-ARTIFACT", "verify", j.Name, fault.Cause(err), fault.Hint(fix))
		case got.SHA512 != j.SHA512:
			return fault.New("E-ARTIFACT", "verify", j.Name,
				fault.Causef("it is not the jar that was pinned: expected SHA-512 %s (%d bytes), got %s (%d bytes)", short(j.SHA512), j.Size, short(got.SHA512), got.Size), fault.Hint(fix))
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, e := range entries {
		if _, ok := byName[e.Name()]; !ok && strings.HasSuffix(e.Name(), ".jar") {
			return fault.New("E-ARTIFACT", "verify", e.Name(), fault.Causef("it is not in the lock of %d jars", len(want)), fault.Hint(fix))
		}
	}
	return nil
}

// short is the beginning of a checksum, enough to compare by eye.
func short(sum string) string { return sum[:16] + "…" }
