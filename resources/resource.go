package resources

// Milli is a scalar amount in thousandths, as Mesos rounds its scalars to three decimals: 200 is 0.2 cpus,
// 8_192_000 is 8192 MiB. Integers, so that adding and subtracting never drift.
type Milli int64

// The resource names that Weir's agents know. Memory and disk are MiB.
const (
	CPUs      = "cpus"      // shares, not a quota (C4)
	Mem       = "mem"       // MiB, a limit
	Disk      = "disk"      // MiB
	Ports     = "ports"     // ranges of TCP ports
	Addresses = "addresses" // a set of 127.x.y.z, one for each pod that needs its own
)

// FreePorts is an agent's attribute: the number from which ports are chosen for those who fix none. It is offered below too.
const FreePorts = "free-ports"

// Range is a closed range of ports, both ends included.
type Range struct {
	Begin uint16 `json:"begin"`
	End   uint16 `json:"end"`
}

// Reservation keeps a resource for one role (a dynamic reservation in Mesos's words). Labels name the pod
// that holds it, so that the same pod finds it again.
type Reservation struct {
	Role   string            `json:"role"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Volume makes a reserved disk a persistent one: it outlives the task that used it (I3: no two agents hold one).
type Volume struct {
	ID   string `json:"id"`
	Path string `json:"path"` // inside the task's sandbox
}

// Resource is one amount of one name: a scalar, ranges or a set, whichever the name calls for.
type Resource struct {
	Name        string       `json:"name"`
	Scalar      Milli        `json:"scalar,omitempty"`
	Ranges      []Range      `json:"ranges,omitempty"`
	Set         []string     `json:"set,omitempty"`
	Reservation *Reservation `json:"reservation,omitempty"` // nil: anybody's
	Volume      *Volume      `json:"volume,omitempty"`      // disk only
}

// Resources is a vector of amounts. The zero value is "nothing".
type Resources []Resource
