package scripts

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a folder that stands for a machine: JDKs, and a path whose only programs are the ones that a test puts there.
type machine struct {
	t    *testing.T
	root string
	env  []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	for _, name := range []string{"sh", "grep", "mkdir", "cat"} {
		real, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("the script needs %s: %v", name, err)
		}
		m.mkdir("bin")
		if err := os.Symlink(real, filepath.Join(m.root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	m.env = []string{"PATH=" + filepath.Join(m.root, "bin"), "HOME=" + m.root, "WEIR_JDK_PATH=" + filepath.Join(m.root, "jvm/*"), "WEIR_MAVEN_PATH=" + filepath.Join(m.root, "maven/mvn")}
	m.uid(0)
	return m
}

func (m *machine) mkdir(dir string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Join(m.root, dir), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// program puts a shell script on the machine's path.
func (m *machine) program(name, body string) {
	m.t.Helper()
	m.file(filepath.Join("bin", name), "#!/bin/sh\n"+body+"\n", 0o755)
}

func (m *machine) file(path, body string, mode os.FileMode) {
	m.t.Helper()
	m.mkdir(filepath.Dir(path))
	if err := os.WriteFile(filepath.Join(m.root, path), []byte(body), mode); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) uid(n int) { m.program("id", "echo "+string(rune('0'+n))) }

// jdk installs one whose java must never be run.
func (m *machine) jdk(dir, version string) {
	m.t.Helper()
	m.file(filepath.Join(dir, "bin/java"), "#!/bin/sh\nexit 1\n", 0o755)
	m.file(filepath.Join(dir, "release"), "IMPLEMENTOR=\"X\"\nJAVA_VERSION=\""+version+"\"\n", 0o644)
}

// aptInstalls makes an apt-get that notes its arguments and installs what they ask for into dir.
func (m *machine) aptInstalls(jdkDir string) {
	m.t.Helper()
	jdk := filepath.Join(m.root, jdkDir)
	m.program("apt-get", `echo "$@" >>`+m.root+`/apt.log
case "$*" in *openjdk-17*)
	mkdir -p `+jdk+`/bin
	echo 'JAVA_VERSION="17.0.9"' >`+jdk+`/release
	cat `+m.root+`/bin/id >`+jdk+`/bin/java
	`+must(m.t, "chmod")+` 755 `+jdk+`/bin/java;;
esac
case "$*" in *maven*)
	cat `+m.root+`/bin/id >`+m.root+`/bin/mvn
	`+must(m.t, "chmod")+` 755 `+m.root+`/bin/mvn;;
esac`)
}

func must(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (m *machine) aptLog() string {
	data, err := os.ReadFile(filepath.Join(m.root, "apt.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	return string(data)
}

// setup runs the script and returns its exit code and output.
func (m *machine) setup(extra []string, args ...string) (int, string) {
	m.t.Helper()
	c := exec.Command("/bin/sh", append([]string{"setup"}, args...)...)
	c.Env = append(append([]string{}, m.env...), extra...)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

func (m *machine) expect(code int, extra, args []string, words ...string) string {
	m.t.Helper()
	got, out := m.setup(extra, args...)
	if got != code {
		m.t.Errorf("exit code %d, want %d:\n%s", got, code, out)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			m.t.Errorf("the output lacks %q:\n%s", w, out)
		}
	}
	return out
}

func TestAllThereIsOneLineAndNoAptGet(t *testing.T) {
	m := newMachine(t)
	m.jdk("jvm/temurin-17-jdk-amd64", "17.0.15")
	m.program("mvn", "exit 1")
	m.aptInstalls("jvm/x")
	out := m.expect(0, nil, nil, m.root+"/jvm/temurin-17-jdk-amd64")
	if strings.Count(out, "\n") != 1 || m.aptLog() != "" {
		t.Errorf("more than one line, or apt-get was called (%q):\n%s", m.aptLog(), out)
	}
}

func TestJavaHomeOfAnotherVersionIsPassedOver(t *testing.T) {
	m := newMachine(t)
	m.jdk("mine/jdk-25", "25.0.3")
	m.jdk("mine/jdk-17", "17")
	m.jdk("jvm/java-17-openjdk-amd64", "17.0.1")
	m.jdk("jvm/java-170", "170.0.1")
	m.program("mvn", "exit 1")
	m.program("java", "exit 1") // on the path, and nobody asks it
	m.expect(0, []string{"JAVA_HOME=" + m.root + "/mine/jdk-25"}, nil, m.root+"/jvm/java-17-openjdk-amd64")
	m.expect(0, []string{"JAVA_HOME=" + m.root + "/mine/jdk-17"}, nil, m.root+"/mine/jdk-17")
}

func TestALinkIsNamedOnlyWhereItIsAllThereIs(t *testing.T) {
	m := newMachine(t)
	m.program("mvn", "exit 1")
	m.jdk("elsewhere/jdk", "17.0.15")
	m.mkdir("jvm")
	if err := os.Symlink("../elsewhere/jdk", filepath.Join(m.root, "jvm/a-link")); err != nil {
		t.Fatal(err)
	}
	m.expect(0, nil, nil, m.root+"/jvm/a-link")
	m.jdk("jvm/real", "17.0.15")
	m.expect(0, nil, nil, m.root+"/jvm/real")
}

func TestRootGetsWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		name       string
		jdk, maven bool
		want       string
	}{
		{"both", false, false, "openjdk-17-jdk-headless maven\n"},
		{"only the JDK", false, true, "openjdk-17-jdk-headless\n"},
		{"only Maven", true, false, "--no-install-recommends maven\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.jdk("jvm/java-25", "25.0.3")
			if c.jdk {
				m.jdk("jvm/java-17", "17.0.9")
			}
			if c.maven {
				m.program("mvn", "exit 1")
			}
			m.aptInstalls("jvm/java-17-openjdk-amd64")
			m.expect(0, nil, nil, "setup: JDK 17 in "+m.root+"/jvm/java-17")
			if log := m.aptLog(); !strings.HasPrefix(log, "update") || !strings.HasSuffix(log, c.want) {
				t.Errorf("apt-get was asked for:\n%s, want an update and then %q", log, c.want)
			}
		})
	}
}

func TestWithoutRootTheCommandToTypeIsSaid(t *testing.T) {
	m := newMachine(t)
	m.uid(7)
	m.aptInstalls("jvm/java-17")
	m.expect(1, nil, nil, "sudo apt-get update && sudo apt-get install -y --no-install-recommends openjdk-17-jdk-headless maven\n", "takes root")
	if log := m.aptLog(); log != "" {
		t.Errorf("apt-get was called without root: %s", log)
	}
}

func TestWithoutAptGetTheWayIsSaid(t *testing.T) {
	m := newMachine(t)
	m.expect(1, nil, nil, "no apt-get", "install a JDK 17", "Maven 3.6 or later")
}

func TestAFailedInstallIsNoSuccess(t *testing.T) {
	m := newMachine(t)
	m.program("apt-get", "echo no network >&2; exit 100")
	m.expect(1, nil, nil, "no network", "apt-get install failed", "openjdk-17-jdk-headless maven")

	m.program("apt-get", "exit 0") // says yes and installs nothing
	m.expect(1, nil, nil, "they are not where they were looked for")
}

func TestCheckOnlyLooks(t *testing.T) {
	m := newMachine(t)
	m.aptInstalls("jvm/java-17")
	m.expect(1, nil, []string{"--check"}, "missing: openjdk-17-jdk-headless maven")
	if log := m.aptLog(); log != "" {
		t.Errorf("--check called apt-get: %s", log)
	}
}
