package isolate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The test binary is the isolated program too: started with a first argument that is no flag, it plays that part.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		os.Exit(play(os.Args[1], os.Args[2:]))
	}
	os.Exit(m.Run())
}

func play(part string, args []string) int {
	in, err := Enter(func() { os.Exit(3) })
	if err != nil {
		fmt.Println("refused:", err)
		return 2
	}
	switch part {
	case "reach":
		for _, a := range args {
			fmt.Println(said(in, a))
		}
	case "directly":
		_, err := net.DialTimeout("tcp", args[0], time.Second)
		fmt.Println("dialled:", err)
	case "listen":
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(l.Addr().(*net.TCPAddr).Port)
		os.Stdin.Read(make([]byte, 1)) //nolint:errcheck // until it is closed, or the parent is gone
	}
	return 0
}

func said(in *Inside, address string) string {
	conn, err := in.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(conn)
	return fmt.Sprint(string(text), err)
}

func start1(t *testing.T, allowed []string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c, err := Start(t.Context(), func() *exec.Cmd {
		out.Reset()
		cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
		cmd.Stdout, cmd.Stderr = &out, &out
		return cmd
	}, allowed)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Wait()
	return out.String(), err
}

// greeter says hello to whoever connects.
func greeter(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck // the test is over
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello ") //nolint:errcheck // the reader notices
			c.Close()                   //nolint:errcheck // the reader notices
		}
	}()
	return l.Addr().String()
}

func TestAnIsolatedProgramReachesWhatItsParentAllowsAndNothingElse(t *testing.T) {
	one, other := greeter(t), greeter(t)
	got, err := start1(t, []string{one, "127.0.0.1:1"}, "reach", one, other, "127.0.0.1:1", one)
	if err != nil {
		t.Fatal(err, got)
	}
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if len(lines) != 4 || lines[0] != "hello <nil>" || lines[3] != lines[0] {
		t.Fatalf("it reached %q", lines)
	}
	if !strings.Contains(lines[1], "dial "+other+": it is not among the addresses that this program may reach") {
		t.Errorf("another address: %s", lines[1])
	}
	if !strings.Contains(lines[2], "connection refused") {
		t.Errorf("an address where nobody listens: %s", lines[2])
	}
	if got, err := start1(t, nil, "directly", one); err != nil || !strings.Contains(got, "refused") {
		t.Errorf("by itself it got %q, %v, and not a refused connection", got, err)
	}
}

func TestNobodyOutsideHearsAnIsolatedProgram(t *testing.T) {
	out, outw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, inw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(t.Context(), func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "listen")
		cmd.Stdin, cmd.Stdout = in, outw
		return cmd
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var port int
	if _, err := fmt.Fscan(out, &port); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second); err == nil {
		t.Errorf("its port %d answered %v", port, conn.RemoteAddr())
	}
	if err := errors.Join(inw.Close(), c.Wait(), in.Close(), out.Close(), outw.Close()); err != nil {
		t.Error(err)
	}
}

func TestAProgramThatIsNotIsolatedIsRefused(t *testing.T) {
	got, err := exec.Command(os.Args[0], "reach").CombinedOutput()
	if err == nil || !strings.Contains(string(got), "refused: it is not in a network namespace of its own") {
		t.Errorf("without a door: %s, %v", got, err)
	}
	ours, theirs, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	own, err := namespace()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Write([]byte(own)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "reach")
	cmd.ExtraFiles = []*os.File{theirs}
	if got, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(got), "refused: it is not in a network namespace of its own") {
		t.Errorf("in its parent's namespace: %s, %v", got, err)
	}
	if err := errors.Join(ours.Close(), theirs.Close()); err != nil {
		t.Error(err)
	}
}

func TestAnIsolatedProgramEndsWithItsParent(t *testing.T) {
	in, inw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(t.Context(), func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "listen")
		cmd.Stdin = in
		return cmd
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.door.CloseWrite(); err != nil { // what the kernel does for a parent that was killed
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("it ended with %v, want exit code 3", err)
	}
	if err := errors.Join(in.Close(), inw.Close()); err != nil {
		t.Error(err)
	}
}
