package clitest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// bin is the folder with weir and weir-shim, which stand beside each other as they do for a user.
var bin string

func TestMain(m *testing.M) {
	code, err := withBinaries(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withBinaries(run func() int) (code int, err error) {
	if bin, err = os.MkdirTemp("", "weir-clitest-"); err != nil {
		return 0, fmt.Errorf("make a folder for the binaries: %w", err)
	}
	defer os.RemoveAll(bin) //nolint:errcheck // a temporary folder
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", bin+string(filepath.Separator), "./cmd/weir", "./cmd/weir-shim")
	build.Dir = filepath.Join("..", "..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the binaries: %w\n%s", err, out)
	}
	return run(), nil
}

// TestAlone: what the commands do with no server, in a second or less each.
func TestAlone(t *testing.T) {
	testscript.Run(t, params("testdata/alone"))
}

// TestServer: a server, its supervisor and a fleet of workers.
func TestServer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers and workers")
	}
	testscript.Run(t, params("testdata/server"))
}

func params(dir string) testscript.Params {
	return testscript.Params{
		Dir: dir, Setup: setup, RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": await, "interrupt": interrupt, "kill9": kill9, "occupy": occupy, "pid": pid, "quiet": quiet,
		},
	}
}

// setup gives a script a home of its own, in which everything that Weir keeps by default stands too.
func setup(env *testscript.Env) error {
	catalog, err := filepath.Abs(filepath.Join("..", "..", "..", "stacks", "catalog"))
	if err != nil {
		return fmt.Errorf("find the catalogue: %w", err)
	}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("CATALOG", catalog)
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
	env.Setenv("STATE", filepath.Join(env.WorkDir, "home", "weir"))
	// A script that fails half-way leaves nothing running either.
	for _, state := range []string{env.Getenv("STATE"), filepath.Join(env.WorkDir, "else[where]")} {
		env.Defer(func() {
			if out, err := exec.Command(filepath.Join(bin, "weir"), "--state", state, "down").CombinedOutput(); err != nil {
				env.T().Log(fmt.Sprintf("weir down at the end: %v\n%s", err, out))
			}
		})
	}
	return nil
}

// TestVerifyNodes: a server whose agents are the nodes of a cluster; make verify-kubernetes starts one.
func TestVerifyNodes(t *testing.T) {
	cluster := os.Getenv("WEIR_KUBERNETES_TESTBED")
	if cluster == "" {
		t.Skip("needs a cluster: make verify-kubernetes")
	}
	p := params("testdata/kubernetes")
	p.Setup = func(env *testscript.Env) error {
		env.Setenv("KUBECONFIG", filepath.Join(cluster, "admin.kubeconfig"))
		env.Setenv("NAMESPACE", "clitest")
		return setup(env)
	}
	testscript.Run(t, p)
}
