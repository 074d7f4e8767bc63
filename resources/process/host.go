package process

import "github.com/weir-project/weir/resources"

// HostOptions say what of a host an agent offers.
type HostOptions struct {
	Dir       string          // whose file system is the disk
	Ports     resources.Range // 20000-29999 when zero
	Addresses string          // the first three numbers of a loopback network, "127.20.0" when empty: .2 to .254 are offered
	Mem, CPUs resources.Milli // what to offer at most; the host's when zero
	Disk      resources.Milli // MiB; what is free when zero
}
