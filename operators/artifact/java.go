package artifact

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-project/weir/internal/fault"
)

// JavaVersion is the only one that both Kafka 4.3 and Cassandra 5.0 run on.
const JavaVersion = 17

// Java is a JDK that was found.
type Java struct {
	Home    string // its directory
	Bin     string // its java
	Version string // as its release file says: 17.0.15
}

// Look says where a JDK is looked for.
type Look struct {
	Home     string   // JAVA_HOME, tried first
	Patterns []string // globs of directories that may be a JDK
}

// DefaultLook is JAVA_HOME and the places where distributions, SDKMAN, IntelliJ, Homebrew and macOS put their JDKs.
func DefaultLook() Look {
	l := Look{Home: os.Getenv("JAVA_HOME"), Patterns: []string{
		"/usr/lib/jvm/*", "/usr/lib64/jvm/*", "/usr/java/*", "/usr/local/java/*", "/usr/local/openjdk-*", "/opt/java/*", "/opt/*jdk*",
		"/Library/Java/JavaVirtualMachines/*/Contents/Home", "/opt/homebrew/opt/openjdk@*/libexec/openjdk.jdk/Contents/Home",
	}}
	if home, err := os.UserHomeDir(); err == nil {
		l.Patterns = append(l.Patterns, filepath.Join(home, ".sdkman/candidates/java/*"), filepath.Join(home, ".jdks/*"))
	}
	return l
}

// FindJava finds a JDK of a major version by looking at what is installed, never at the path. JAVA_HOME wins where it fits, else the
// newest. The error says which versions were found and what to type.
func FindJava(major int, l Look) (Java, error) {
	var fit, other []Java
	for _, home := range l.candidates() {
		j, ok := readJava(home)
		switch {
		case !ok:
		case j.major() != major:
			other = append(other, j)
		case home == l.Home:
			return j, nil
		default:
			fit = append(fit, j)
		}
	}
	if len(fit) > 0 {
		return slices.MaxFunc(fit, func(a, b Java) int { return slices.Compare(a.numbers(), b.numbers()) }), nil
	}
	hint := fault.Hint(installHint(fmt.Sprintf("openjdk-%d-jdk-headless", major), fmt.Sprintf("openjdk@%d", major)))
	if len(other) == 0 {
		return Java{}, fault.New("E-JAVA", "find", fmt.Sprintf("a JDK %d", major), fault.Causef("no Java is installed (looked in JAVA_HOME and %s)", strings.Join(l.Patterns, ", ")), hint)
	}
	found := make([]string, len(other))
	for i, j := range other {
		found[i] = j.Version + " in " + j.Home
	}
	return Java{}, fault.New("E-JAVA-VERSION", "find", fmt.Sprintf("a JDK %d", major), fault.Causef("Java %s is installed and Cassandra 5.0 runs on %d only", strings.Join(found, ", "), major), hint)
}

func installHint(apt, brew string) string {
	if runtime.GOOS == "darwin" {
		return "brew install " + brew
	}
	sudo := "sudo "
	if os.Geteuid() == 0 {
		sudo = ""
	}
	return fmt.Sprintf("%sapt-get install -y %s", sudo, apt)
}

func (l Look) candidates() []string {
	var out []string
	seen := map[string]bool{}
	add := func(dir string) {
		// Distributions link several names to one JDK.
		real, err := filepath.EvalSymlinks(dir)
		if err == nil && !seen[real] {
			seen[real] = true
			out = append(out, dir)
		}
	}
	if l.Home != "" {
		add(l.Home)
	}
	for _, p := range l.Patterns {
		dirs, err := filepath.Glob(p)
		if err != nil {
			continue // the patterns are ours; one that is malformed finds nothing
		}
		for _, d := range dirs {
			add(d)
		}
	}
	return out
}

// readJava reads the release file that every JDK since 8 carries. Without a java beside it, it is no JDK.
func readJava(home string) (Java, bool) {
	bin := filepath.Join(home, "bin", "java")
	if info, err := os.Stat(bin); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return Java{}, false
	}
	data, err := os.ReadFile(filepath.Join(home, "release"))
	if err != nil {
		return Java{}, false
	}
	for _, line := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "JAVA_VERSION="); ok {
			return Java{Home: home, Bin: bin, Version: strings.Trim(v, `"`)}, true
		}
	}
	return Java{}, false
}

// numbers are those of the version: 17.0.15 is [17 0 15], 1.8.0_392 is [1 8 0 392].
func (j Java) numbers() []int {
	var out []int
	for _, part := range strings.FieldsFunc(j.Version, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(part)
		if err != nil {
			return out
		}
		out = append(out, n)
	}
	return out
}

func (j Java) major() int {
	n := j.numbers()
	switch {
	case len(n) == 0:
		return 0
	case n[0] == 1 && len(n) > 1:
		return n[1]
	}
	return n[0]
}
