package process

import (
	"bytes"
	"net/netip"
	"os"
	"strings"

	"github.com/weir-project/weir/resources"
)

// withoutBusy takes from what the host has the ports and addresses that others listen on, so that whoever chooses a free one gets one. What is
// reserved stays: its pod may be the one that listens, or waits for whoever took its place.
func withoutBusy(have, reserved resources.Resources) resources.Resources {
	return subtractBusy(have, reserved.Plain(), listening())
}

func subtractBusy(have, keep resources.Resources, busy []netip.AddrPort) resources.Resources {
	take := func(r resources.Resource) {
		one := resources.Resources{r}
		if have.Contains(one) && !keep.Contains(one) {
			have = have.Sub(one)
		}
	}
	for _, at := range busy {
		take(resources.RangesOf(resources.Ports, resources.Range{Begin: at.Port(), End: at.Port()}))
		if !at.Addr().IsUnspecified() {
			take(resources.SetOf(resources.Addresses, at.Addr().String()))
		}
	}
	return have
}

// listening are the addresses that anybody on this host listens to.
func listening() []netip.AddrPort {
	var out []netip.AddrPort
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		table, err := os.ReadFile(name)
		if err != nil {
			continue // a host without IPv6 has no tcp6
		}
		for line := range bytes.SplitSeq(table, []byte("\n")) {
			f := strings.Fields(string(line))
			if len(f) <= inodeField || f[3] != listenState {
				continue
			}
			if local, ok := parseLocal(f[1]); ok {
				out = append(out, local)
			}
		}
	}
	return out
}
