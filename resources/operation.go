package resources

import (
	"fmt"
	"strings"
)

// Perform is the law of the operations that change what resources are (not how much there is): RESERVE, UNRESERVE, CREATE
// and DESTROY. r must hold what the operation begins with; the result holds what it ends with. LAUNCH uses resources and
// changes none, so it is refused here. A refused operation leaves r as it was (I7).
func (r Resources) Perform(op Operation) (Resources, error) {
	if len(op.Resources) == 0 {
		return nil, fmt.Errorf("%s names no resources", op.Type)
	}
	out := r
	for _, x := range op.Resources {
		from, to, err := conversion(op.Type, x)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", op.Type, x, err)
		}
		if !out.Contains(Resources{from}) {
			return nil, fmt.Errorf("%s %s: it needs %s, there is %s", op.Type, x, from, out.of(x.Name))
		}
		if to.Volume != nil {
			if _, exists := out.Volume(to.Volume.ID); exists {
				return nil, fmt.Errorf("%s %s: volume %s exists already", op.Type, x, to.Volume.ID)
			}
		}
		out = out.Sub(Resources{from}).Add(Resources{to})
	}
	return out, nil
}

func (r Resources) of(name string) string {
	got := r.where(func(x Resource) bool { return x.Name == name })
	if len(got) == 0 {
		return "none"
	}
	return got.Summary()
}

// conversion says what an operation on x turns into what.
func conversion(op OperationType, x Resource) (from, to Resource, err error) {
	if x.Empty() {
		return x, x, fmt.Errorf("the amount is nothing")
	}
	if x.Reservation == nil || x.Reservation.Role == "" {
		return x, x, fmt.Errorf("it names no reservation with a role")
	}
	if err := checkReservation(*x.Reservation); err != nil {
		return x, x, err
	}
	unreserved, reserved := x.Plain(), x
	reserved.Volume = nil
	switch op {
	case Reserve, Unreserve:
		if x.Volume != nil {
			return x, x, fmt.Errorf("it is a volume; CREATE and DESTROY make and remove volumes")
		}
		if op == Reserve {
			return unreserved, reserved, nil
		}
		return reserved, unreserved, nil
	case Create, Destroy:
		if x.Name != Disk || x.Volume == nil {
			return x, x, fmt.Errorf("only disk with a volume becomes one")
		}
		if err := CheckID(x.Volume.ID); err != nil {
			return x, x, err
		}
		if op == Create {
			return reserved, x, nil
		}
		return x, reserved, nil
	}
	return x, x, fmt.Errorf("it changes no resources")
}

// checkReservation keeps the text form unambiguous, since it is what tells one reservation from another.
func checkReservation(r Reservation) error {
	words := []string{r.Role}
	for k, v := range r.Labels {
		words = append(words, k, v)
	}
	for _, w := range words {
		if len(w) > MaxID || strings.ContainsAny(w, "(){}[],;:\n") {
			return fmt.Errorf("role or label %.60q is longer than %d bytes or has one of (){}[],;:", w, MaxID)
		}
	}
	return nil
}
