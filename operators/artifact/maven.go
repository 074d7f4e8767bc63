package artifact

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-project/weir/internal/fault"
)

// plugin is pinned: the default of each Maven is another one, and offline only the one that was downloaded is there.
const plugin = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"

// FindMaven finds mvn on the path or where it is put by hand.
func FindMaven() (string, error) {
	if p, err := exec.LookPath("mvn"); err == nil {
		return p, nil
	}
	for _, pattern := range []string{"/usr/share/maven/bin/mvn", "/opt/maven/bin/mvn", "/opt/apache-maven*/bin/mvn", "/usr/local/apache-maven*/bin/mvn", "/opt/homebrew/bin/mvn", "/usr/local/bin/mvn"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fault.New("E-MAVEN", "find", "Maven", fault.Causef("mvn is neither on the path nor in /usr/share/maven, /opt or /usr/local"), fault.Hint(installHint("maven", "maven")))
}

// maven copies the set's jars into a directory: offline where Maven's local repository has all of them, else from the network.
func (s Store) maven(ctx context.Context, set Set, tmp, out string, total int) error {
	mvn := s.Maven
	if mvn == "" {
		var err error
		if mvn, err = FindMaven(); err != nil {
			return err
		}
	}
	pom, err := set.pom()
	if err != nil {
		return fmt.Errorf("read the pom of %s: %w", set, err)
	}
	file := filepath.Join(tmp, "pom.xml")
	if err := os.WriteFile(file, pom, 0o644); err != nil {
		return fmt.Errorf("write the pom of %s: %w", set, err)
	}
	args := []string{"-B", "-f", file, plugin, "-DincludeScope=runtime", "-DoutputDirectory=" + out}
	s.tell(set, "look", 0, total)
	if _, err := s.run(ctx, mvn, append([]string{"-o"}, args...), nil); err == nil {
		return nil
	} else if ctx.Err() != nil {
		return fmt.Errorf("resolve %s: %w", set, context.Cause(ctx))
	}
	// What an attempt that failed has copied is checked like the rest.
	done := 0
	tail, err := s.run(ctx, mvn, args, func(line string) {
		if strings.Contains(line, "Downloaded from") && strings.Contains(line, ".jar ") {
			done++
			s.tell(set, "download", min(done, total), total)
		}
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("resolve %s: %w", set, context.Cause(ctx))
	}
	return explain(set, mvn, tail, err)
}

// run returns the last lines of the output, of which the ones that Maven marks as errors come first.
func (s Store) run(ctx context.Context, mvn string, args []string, line func(string)) (tail []string, err error) {
	cmd := exec.CommandContext(ctx, mvn, args...)
	cmd.Env = os.Environ()
	if s.JavaHome != "" {
		cmd.Env = append(cmd.Env, "JAVA_HOME="+s.JavaHome)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", mvn, err)
	}
	read := make(chan []string, 1)
	go func() { read <- collect(r, line) }()
	err = cmd.Wait()
	err = errors.Join(err, w.Close())
	return <-read, err
}

func collect(r io.Reader, line func(string)) []string {
	var errs, last []string
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		text := sc.Text()
		if line != nil {
			line(text)
		}
		if msg, ok := strings.CutPrefix(text, "[ERROR] "); ok && len(errs) < 20 {
			errs = append(errs, msg)
		}
		if last = append(last, text); len(last) > 5 {
			last = last[1:]
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil || sc.Err() != nil {
		last = append(last, fmt.Sprint("its output could not be read: ", errors.Join(err, sc.Err())))
	}
	return append(errs, last...)
}

// network are the words by which Maven says that it could not reach a repository.
var network = []string{
	"Unknown host", "UnknownHostException", "Temporary failure in name resolution", "Name or service not known", "Network is unreachable",
	"Connection refused", "Connection timed out", "connect timed out", "No route to host", "Could not transfer artifact", "offline mode",
}

func explain(set Set, mvn string, tail []string, err error) error {
	text := strings.Join(tail, "\n")
	first := err.Error()
	if len(tail) > 0 {
		first = tail[0]
	}
	if len(first) > 400 {
		first = first[:400] + "…"
	}
	for _, sign := range network {
		if strings.Contains(text, sign) {
			return fault.New("E-NETWORK", "download", set.String(), fault.Causef("Maven could not reach a repository: %s", first),
				fault.Hint("connect to the network, or name a mirror or proxy in ~/.m2/settings.xml, and run the same command again; what was downloaded is kept"))
		}
	}
	return fault.New("E-MAVEN", "resolve", set.String(), fault.Causef("%s: %s", err, first), fault.Hintf("%s -version shows whether Maven works", mvn))
}
