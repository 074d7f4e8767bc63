package artifact

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-project/weir/internal/fault"
)

// updateLocks writes locks/ anew from what Maven resolves: go test ./operators/artifact -run Locks -update-locks
var updateLocks = flag.Bool("update-locks", false, "write locks/*.lock from what Maven resolves now")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLocksAreWhatThePomsResolveTo(t *testing.T) {
	if testing.Short() {
		t.Skip("runs Maven")
	}
	for _, set := range Sets {
		dir := t.TempDir()
		java, err := FindJava(JavaVersion, DefaultLook())
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		s := Store{Dir: dir, JavaHome: java.Home}
		if *updateLocks {
			must(t, s.maven(ctx, set, dir, filepath.Join(dir, "jars"), 0))
			must(t, os.WriteFile(filepath.Join("locks", set.file()+".lock"), []byte(lockOf(t, filepath.Join(dir, "jars"))), 0o644))
			continue
		}
		jars, err := s.Resolve(ctx, set)
		must(t, err)
		want, _, err := set.lock()
		must(t, err)
		if got := lockOf(t, jars.Dir); got != formatLock(want) {
			t.Errorf("%s resolves to other jars than its lock names", set)
		}
	}
}

func lockOf(t *testing.T, dir string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.jar"))
	must(t, err)
	slices.Sort(paths)
	var jars []Jar
	for _, p := range paths {
		j, err := hashJar(p)
		must(t, err)
		jars = append(jars, j)
	}
	return formatLock(jars)
}

// fakeMaven is a script that answers as Maven does. It sees its arguments; $out is the output directory.
func fakeMaven(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mvn")
	head := "#!/bin/sh\nfor a in \"$@\"; do case $a in -DoutputDirectory=*) out=${a#-DoutputDirectory=};; esac; done\n"
	must(t, os.WriteFile(path, []byte(head+script), 0o755))
	return path
}

func TestFailuresSayWhatIsWrongAndWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		script, code string
		words        []string
	}{
		"no network": {`echo "[ERROR] Failed to execute goal: Could not transfer artifact x from/to central: repo.example: Temporary failure in name resolution"; exit 1`, "E-NETWORK",
			[]string{"download kafka 4.3.1", "Temporary failure in name resolution"}},
		"a broken Maven": {`echo "[ERROR] Error: JAVA_HOME is not defined correctly"; exit 1`, "E-MAVEN", []string{"resolve kafka 4.3.1", "JAVA_HOME is not defined correctly", "exit status 1"}},
		"a missing jar":  {`mkdir -p "$out"`, "E-ARTIFACT", []string{"it is missing in"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Store{Dir: t.TempDir(), Maven: fakeMaven(t, c.script)}.Resolve(t.Context(), Kafka)
			var f *fault.Error
			if !errors.As(err, &f) || f.Flat().Code != c.code || f.Flat().Hint == "" {
				t.Fatalf("got %v (%+v), want code %s and a hint", err, f, c.code)
			}
			for _, w := range c.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
	if _, err := (Store{Dir: t.TempDir(), Maven: "/nonexistent/mvn"}).Resolve(t.Context(), Kafka); err == nil || !strings.Contains(err.Error(), "/nonexistent/mvn") {
		t.Errorf("a Maven that is not there: %v", err)
	}
}

// stocked is a store with all jars of Kafka from the machine's cache, and a Maven that must not be asked.
func stocked(t *testing.T) (Store, Jars, []Jar) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the real jars")
	}
	java, err := FindJava(JavaVersion, DefaultLook())
	must(t, err)
	real, err := DefaultDir()
	must(t, err)
	from, err := Store{Dir: real, JavaHome: java.Home}.Resolve(t.Context(), Kafka)
	must(t, err)
	want, _, err := Kafka.lock()
	must(t, err)
	copying := "mkdir -p \"$out\" && cp " + from.Dir + "/*.jar \"$out\""
	s := Store{Dir: t.TempDir(), Maven: fakeMaven(t, copying)}
	jars, err := s.Resolve(t.Context(), Kafka)
	must(t, err)
	s.Maven = fakeMaven(t, "echo '[ERROR] Maven was asked again'; exit 1")
	return s, jars, want
}

func TestWhatWasVerifiedIsUsedAgainAndWhatWasTouchedIsHashedAgain(t *testing.T) {
	s, jars, want := stocked(t)
	phases := func() string {
		var seen []string
		s.Progress = func(p Progress) { seen = append(seen, p.Phase) }
		_, err := s.Resolve(t.Context(), Kafka)
		must(t, err)
		return strings.Join(seen, " ")
	}
	if got := phases(); got != "ready" {
		t.Errorf("a second resolution does %q, want nothing but ready", got)
	}
	jar := filepath.Join(jars.Dir, want[0].Name)
	must(t, os.Chtimes(jar, time.Now(), time.Now()))
	if got := phases(); got != "verify ready" {
		t.Errorf("after a touch: %q, want verify ready", got)
	}
	must(t, os.Remove(filepath.Join(jars.Dir, markerName)))
	if got := phases(); got != "verify ready" {
		t.Errorf("without a marker: %q, want verify ready", got)
	}
	if path, err := jars.Jar("kafka-clients"); err != nil || filepath.Base(path) != "kafka-clients-4.3.1.jar" {
		t.Errorf("kafka-clients: %q, %v", path, err)
	}
	if _, err := jars.Jar("jamm"); err == nil {
		t.Error("Kafka has no jamm, and one was found")
	}
}

func TestAChangedJarAndAForeignJarAreRefusedByName(t *testing.T) {
	s, jars, want := stocked(t)
	jar := filepath.Join(jars.Dir, want[3].Name)
	data, err := os.ReadFile(jar)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(jar, data, 0o644))
	_, err = s.Resolve(t.Context(), Kafka)
	if err == nil || !strings.Contains(err.Error(), want[3].Name) || !strings.Contains(err.Error(), short(want[3].SHA512)) {
		t.Fatalf("a changed jar: %v; want its name and the expected checksum", err)
	}
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(jar, data, 0o644))
	must(t, os.WriteFile(filepath.Join(jars.Dir, "evil-1.0.jar"), nil, 0o644))
	if _, err = s.Resolve(t.Context(), Kafka); err == nil || !strings.Contains(err.Error(), "evil-1.0.jar") {
		t.Fatalf("a jar that is not in the lock: %v", err)
	}
}

func TestTwoResolutionsAtOnceMakeTheSetOnce(t *testing.T) {
	_, jars, _ := stocked(t)
	count := filepath.Join(t.TempDir(), "count")
	s2 := Store{Dir: t.TempDir(), Maven: fakeMaven(t, fmt.Sprintf("echo x >> %s; mkdir -p \"$out\" && cp %s/*.jar \"$out\"", count, jars.Dir))}
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		wg.Go(func() { _, errs[i] = s2.Resolve(t.Context(), Kafka) })
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	data, err := os.ReadFile(count)
	must(t, err)
	if n := strings.Count(string(data), "x"); n != 1 {
		t.Errorf("Maven ran %d times, want once", n)
	}
	left, err := filepath.Glob(filepath.Join(s2.Dir, ".kafka-4.3.1-*"))
	must(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestACancelledResolutionEndsAndLeavesNothing(t *testing.T) {
	s := Store{Dir: t.TempDir(), Maven: fakeMaven(t, "exec sleep 60")}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := s.Resolve(ctx, Kafka)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 20*time.Second {
		t.Fatalf("after %s: %v", time.Since(start), err)
	}
	left, err := filepath.Glob(filepath.Join(s.Dir, "*kafka-4.3.1-*"))
	must(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// jdk makes a directory that looks like a JDK.
func jdk(t *testing.T, dir, version string) string {
	t.Helper()
	home := filepath.Join(dir, "jdk-"+version)
	must(t, os.MkdirAll(filepath.Join(home, "bin"), 0o755))
	must(t, os.WriteFile(filepath.Join(home, "bin", "java"), []byte("#!/bin/sh\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(home, "release"), []byte("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\""+version+"\"\n"), 0o644))
	return home
}

func TestJavaIsFoundWhereItIsInstalled(t *testing.T) {
	dir := t.TempDir()
	look := Look{Patterns: []string{filepath.Join(dir, "*")}}
	_, err := FindJava(17, look)
	if err == nil || !strings.Contains(err.Error(), "no Java is installed") {
		t.Errorf("no Java: %v", err)
	}
	jdk(t, dir, "1.8.0_392")
	jdk(t, dir, "25.0.1")
	_, err = FindJava(17, look)
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != "E-JAVA-VERSION" || !strings.Contains(err.Error(), "25.0.1 in "+dir) || !strings.Contains(f.Hint, "openjdk-17") {
		t.Errorf("wrong Java: %v (%+v)", err, f)
	}
	old := jdk(t, dir, "17.0.9")
	jdk(t, dir, "17.0.15")
	if j, err := FindJava(17, look); err != nil || j.Version != "17.0.15" {
		t.Errorf("the newest 17: %+v, %v", j, err)
	}
	look.Home = old
	if j, err := FindJava(17, look); err != nil || j.Home != old {
		t.Errorf("JAVA_HOME comes first: %+v, %v", j, err)
	}
	if j, err := FindJava(8, look); err != nil || j.Version != "1.8.0_392" {
		t.Errorf("Java 8: %+v, %v", j, err)
	}
}

func TestVersionsOfAStackAreFound(t *testing.T) {
	if s, err := For("kafka", "4.3"); err != nil || s != Kafka {
		t.Errorf("kafka 4.3: %v, %v", s, err)
	}
	_, err := For("kafka", "3.9")
	if fault.ExitCode(err) != fault.ExitInvalid || !strings.Contains(err.Error(), "kafka 4.3") {
		t.Errorf("kafka 3.9: %v", err)
	}
}

func TestLocksAreRefusedWhereALineIsBroken(t *testing.T) {
	sum := strings.Repeat("a", 128)
	for _, text := range []string{"", "x 1 a.jar", sum + " one a.jar", sum + " 1 ../a.jar", sum + " 1"} {
		if _, err := parseLock(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
