package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/weir-project/weir/resources"
)

// portError says which port cannot be had, and who has it.
type portError struct {
	task    resources.TaskID
	address string
	owner   string
}

func (e *portError) Error() string {
	return fmt.Sprintf("task %s: port %s is in use by %s; stop that process, or let Weir choose a free port", e.task, e.address, e.owner)
}

// checkPorts refuses ports that something on this host listens to. Which of two starts at the same moment wins is for the
// kernel to say; this only makes the common mistake readable.
func checkPorts(info resources.TaskInfo) error {
	hosts := info.Resources.Items(resources.Addresses)
	if len(hosts) == 0 {
		hosts = []string{"127.0.0.1"}
	}
	const most = 64 // a task that holds more has a range to choose from, not ports that it needs
	tried := 0
	for _, r := range info.Resources.PortRanges(resources.Ports) {
		for port := int(r.Begin); port <= int(r.End) && tried < most; port++ {
			tried++
			for _, host := range hosts {
				if err := tryPort(info.ID, net.JoinHostPort(host, strconv.Itoa(port))); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func tryPort(task resources.TaskID, address string) error {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return &portError{task, address, portOwner(address)}
	}
	if err != nil {
		return fmt.Errorf("task %s: try port %s: %w", task, address, err)
	}
	return l.Close()
}

// portOwner names the process that listens to an address, as far as this user may see it.
func portOwner(address string) string {
	const unknown = "another process"
	want, err := netip.ParseAddrPort(address)
	if err != nil {
		return unknown
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue // a host without IPv6 has no tcp6
		}
		if inode := listener(data, want); inode != "" {
			if owner := socketOwner(inode); owner != "" {
				return owner
			}
		}
	}
	return unknown
}

// Fields of a line of /proc/net/tcp.
const (
	listenState = "0A" // in field 3
	inodeField  = 9
)

// listener finds the inode of the socket that listens to an address, or to its port on all addresses, in the text of
// /proc/net/tcp: "sl local_address rem_address st … inode".
func listener(table []byte, want netip.AddrPort) string {
	for _, line := range bytes.Split(table, []byte("\n")) {
		f := strings.Fields(string(line))
		if len(f) <= inodeField || f[3] != listenState {
			continue
		}
		local, ok := parseLocal(f[1])
		if ok && local.Port() == want.Port() && (local.Addr().IsUnspecified() || local.Addr() == want.Addr()) {
			return f[inodeField]
		}
	}
	return ""
}

// parseLocal reads an address as the kernel prints it: 32-bit words of the address in the host's order, in hexadecimal.
func parseLocal(s string) (netip.AddrPort, bool) {
	address, port, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || len(address)%8 != 0 {
		return netip.AddrPort{}, false
	}
	var raw []byte
	for i := 0; i < len(address); i += 8 {
		word, err := strconv.ParseUint(address[i:i+8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, false
		}
		raw = binary.NativeEndian.AppendUint32(raw, uint32(word))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), ok
}

// socketOwner is "process 1234 (java)", or "" when no process that this user may look into has the socket.
func socketOwner(inode string) string {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return "process " + pid
		}
		return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
	}
	return ""
}
