package resources

import "time"

// Identifiers have types of their own, so that none is handed over for another.
type (
	AgentID     string
	OfferID     string
	TaskID      string
	FrameworkID string
)

// AgentInfo is what an agent says of itself when it registers.
type AgentInfo struct {
	ID         AgentID           `json:"id"`
	Hostname   string            `json:"hostname"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Resources  Resources         `json:"resources"` // the whole of it, reservations and volumes included (agents checkpoint them)
}

// FrameworkInfo registers a framework. Each operator instance is one framework.
type FrameworkInfo struct {
	ID   FrameworkID `json:"id"`
	Name string      `json:"name"`
	Role string      `json:"role"`
}

// Offer is resources of one agent offered to one framework's role for a while.
type Offer struct {
	ID         OfferID           `json:"id"`
	Framework  FrameworkID       `json:"framework"`
	Agent      AgentID           `json:"agent"`
	Hostname   string            `json:"hostname"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Resources  Resources         `json:"resources"` // the role's own reservations and what is unreserved
}

// Filter declines an offer's resources for a duration (Mesos's refuse_seconds).
type Filter struct {
	RefuseFor time.Duration `json:"refuse_for"`
}

// OperationType says what an accepted offer performs.
type OperationType string

const (
	Reserve   OperationType = "RESERVE"
	Unreserve OperationType = "UNRESERVE"
	Create    OperationType = "CREATE"
	Destroy   OperationType = "DESTROY"
	Launch    OperationType = "LAUNCH"
)

// Operation is one thing to do with an accepted offer. Operations of one Accept are applied in order and all or
// none: an operation may use what the one before it made.
type Operation struct {
	Type      OperationType `json:"type"`
	Resources Resources     `json:"resources,omitempty"` // reserve, unreserve, create, destroy: with Reservation or Volume set
	Tasks     []TaskInfo    `json:"tasks,omitempty"`     // launch
}
