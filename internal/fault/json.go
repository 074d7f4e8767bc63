package fault

import (
	"encoding/json"
	"errors"
	"fmt"
)

// wire is the JSON form of an Error. The cause is always there as text; where it is a fault it also stands whole in "fault".
type wire struct {
	Code    string `json:"code,omitempty"`
	Op      string `json:"op,omitempty"`
	Subject string `json:"subject,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Col     int    `json:"col,omitempty"`
	Cause   string `json:"cause,omitempty"`
	Fault   *Error `json:"fault,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Exit    int    `json:"exit,omitempty"`
	Source  string `json:"source,omitempty"`
}

// MarshalJSON keeps every field. A cause that is no fault is kept as its text.
func (e *Error) MarshalJSON() ([]byte, error) {
	v := wire{Code: e.Code, Op: e.Op, Subject: e.Subject, File: e.Pos.File, Line: e.Pos.Line, Col: e.Pos.Col,
		Hint: e.Hint, Exit: e.Exit, Source: e.Source}
	if e.Err != nil {
		v.Cause = e.Err.Error()
		v.Fault, _ = e.Err.(*Error) // a cause of another type leaves it nil, which is omitted
	}
	return json.Marshal(v)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Error) UnmarshalJSON(data []byte) error {
	var v wire
	if err := json.Unmarshal(data, &v); err != nil {
		return fmt.Errorf("decode fault: %w", err)
	}
	*e = Error{Code: v.Code, Op: v.Op, Subject: v.Subject, Pos: Pos{File: v.File, Line: v.Line, Col: v.Col},
		Hint: v.Hint, Exit: v.Exit, Source: v.Source}
	switch {
	case v.Fault != nil:
		e.Err = v.Fault
	case v.Cause != "":
		e.Err = errors.New(v.Cause)
	}
	return nil
}

// Encode writes any error as a JSON list of faults, one for a single error, for the body of a refused request.
func Encode(err error) ([]byte, error) {
	var list List
	list.Add(err)
	data, merr := json.Marshal(list)
	if merr != nil {
		return nil, fmt.Errorf("encode %s: %w", Count(len(list), "fault"), merr)
	}
	return data, nil
}

// Decode reads what Encode wrote. The second result is about the reading itself.
func Decode(data []byte) (decoded, err error) {
	var list List
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("decode %d bytes as a list of faults: %w", len(data), err)
	}
	for i, e := range list {
		if e == nil {
			return nil, fmt.Errorf("decode list of faults: member %d of %d is null", i+1, len(list))
		}
	}
	return list.Err(), nil
}
