package resources

// CallType names what a framework asks of the master; the names are those of Mesos's v1 scheduler API.
type CallType string

const (
	CallSubscribe   CallType = "SUBSCRIBE"
	CallTeardown    CallType = "TEARDOWN"
	CallAccept      CallType = "ACCEPT"
	CallDecline     CallType = "DECLINE"
	CallRevive      CallType = "REVIVE"
	CallSuppress    CallType = "SUPPRESS"
	CallKill        CallType = "KILL"
	CallAcknowledge CallType = "ACKNOWLEDGE"
	CallReconcile   CallType = "RECONCILE"
)

// Call is a framework's message to the master. Only the fields of its type are set.
type Call struct {
	Framework  FrameworkID   `json:"framework_id"`
	Type       CallType      `json:"type"`
	Info       FrameworkInfo `json:"framework_info,omitempty"` // subscribe
	Offers     []OfferID     `json:"offer_ids,omitempty"`      // accept, decline
	Operations []Operation   `json:"operations,omitempty"`     // accept
	Filter     Filter        `json:"filters,omitempty"`        // accept, decline
	Task       TaskID        `json:"task_id,omitempty"`        // kill, acknowledge
	UUID       string        `json:"uuid,omitempty"`           // acknowledge
	Tasks      []TaskID      `json:"tasks,omitempty"`          // reconcile; empty asks for all
}

// EventType names what the master tells a framework.
type EventType string

const (
	EventSubscribed EventType = "SUBSCRIBED"
	EventOffers     EventType = "OFFERS"
	EventRescind    EventType = "RESCIND"
	EventUpdate     EventType = "UPDATE"
	EventError      EventType = "ERROR"
)

// Event is the master's message to a framework. Only the fields of its type are set.
type Event struct {
	Type      EventType   `json:"type"`
	Framework FrameworkID `json:"framework_id"`
	Offers    []Offer     `json:"offers,omitempty"`
	Offer     OfferID     `json:"offer_id,omitempty"` // rescind
	Status    *TaskStatus `json:"status,omitempty"`   // update
	Message   string      `json:"message,omitempty"`  // error
}

// The frames on the link of an agent with its server, and the version of their bodies.
const (
	AgentFrameReport  = "report"  // AgentReport
	AgentFrameCommand = "command" // AgentCommand
	AgentFrameVersion = 1
)

// AgentCommandType names what the master asks of an agent.
type AgentCommandType string

const (
	AgentRegistered AgentCommandType = "registered"
	AgentApply      AgentCommandType = "apply" // operations of one accepted offer, in order, all or none
	AgentKill       AgentCommandType = "kill"
	AgentAck        AgentCommandType = "ack" // of a status, by UUID
)

// AgentCommand travels to an agent. Term is the server's; an agent refuses a lower one than it has seen (C2).
type AgentCommand struct {
	Type       AgentCommandType `json:"type"`
	Term       uint64           `json:"term"`
	Operations []Operation      `json:"operations,omitempty"`
	Task       TaskID           `json:"task,omitempty"`
	UUID       string           `json:"uuid,omitempty"`
	Seq        uint64           `json:"seq,omitempty"` // apply: counts up within one link
}

// AgentReportType names what an agent tells the master.
type AgentReportType string

const (
	AgentRegister AgentReportType = "register" // first message: info and every task that the agent holds
	AgentStatus   AgentReportType = "status"
	AgentChanged  AgentReportType = "resources" // after operations: the whole of its resources
)

// AgentReport travels from an agent.
type AgentReport struct {
	Type   AgentReportType `json:"type"`
	Info   *AgentInfo      `json:"info,omitempty"`
	Tasks  []TaskStatus    `json:"tasks,omitempty"`
	Status *TaskStatus     `json:"status,omitempty"`
	Seq    uint64          `json:"seq,omitempty"` // resources: the last apply that they are the result of
}
