package process

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/weir-project/weir/resources"
)

func TestPortsAndAddressesOfOthersAreNotOffered(t *testing.T) {
	have := resources.Resources{
		resources.RangesOf(resources.Ports, resources.Range{Begin: 20000, End: 20009}),
		resources.SetOf(resources.Addresses, "127.20.0.2", "127.20.0.3", "127.20.0.4"),
	}
	reserved := resources.Resources{
		resources.RangesOf(resources.Ports, resources.Range{Begin: 20003, End: 20003}),
		resources.SetOf(resources.Addresses, "127.20.0.4"),
	}
	busy := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:20000"), netip.MustParseAddrPort("0.0.0.0:20005"), netip.MustParseAddrPort("127.0.0.1:20003"),
		netip.MustParseAddrPort("127.20.0.2:9042"), netip.MustParseAddrPort("127.20.0.2:7000"), netip.MustParseAddrPort("127.20.0.4:9042"),
		netip.MustParseAddrPort("[::1]:53"),
	}
	got := subtractBusy(have, reserved, busy)
	want := "addresses:{127.20.0.3, 127.20.0.4}; ports:[20001-20004, 20006-20009]"
	if got.String() != want {
		t.Errorf("left are %s, want %s", got, want)
	}
}

func TestListeningSeesThisProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.20.0.77:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if at := netip.MustParseAddrPort(l.Addr().String()); !slices.Contains(listening(), at) {
		t.Errorf("%s is not among the listeners %v", at, listening())
	}
}
