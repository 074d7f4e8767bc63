package allocator_test

import (
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/allocator"
)

// genState draws a cluster with reservations, filters, suppression and weights.
var genState = rapid.Custom(func(t *rapid.T) allocator.State {
	s := allocator.State{Now: epoch, Weights: map[string]float64{}}
	names := []string{"r0", "r1", "r2"}
	amount := func(label string, most int) resources.Milli {
		return resources.Milli(rapid.IntRange(0, most).Draw(t, label))
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "agents") {
		var total resources.Resources
		total = append(total, resources.Scalar("cpus", amount("cpus", 8000)), resources.Scalar("mem", amount("mem", 64_000)))
		if rapid.Bool().Draw(t, "reserved") {
			total = append(total, resources.Scalar("cpus", amount("cpus", 2000)).ReservedFor(rapid.SampledFrom(names).Draw(t, "role"), nil))
		}
		available := total.Normal()
		if rapid.Bool().Draw(t, "busy") {
			available = available.Sub(resources.Resources{resources.Scalar("cpus", amount("used", 8000))})
		}
		s.Agents = append(s.Agents, allocator.Agent{ID: resources.AgentID(fmt.Sprintf("a%d", i)), Total: total.Normal(), Available: available})
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "frameworks") {
		f := allocator.Framework{ID: resources.FrameworkID(fmt.Sprintf("f%d", i)), Role: rapid.SampledFrom(names).Draw(t, "role"), Suppressed: rapid.IntRange(0, 4).Draw(t, "s") == 0}
		f.Allocated = resources.Resources{resources.Scalar("cpus", amount("has", 3000)), resources.Scalar("mem", amount("has", 9000))}
		s.Frameworks = append(s.Frameworks, f)
		if len(s.Agents) > 0 && rapid.IntRange(0, 3).Draw(t, "filter") == 0 {
			a := rapid.SampledFrom(s.Agents).Draw(t, "at")
			s.Filters = append(s.Filters, allocator.Filter{Framework: f.ID, Agent: a.ID, Resources: a.Available, Until: epoch.Add(time.Duration(rapid.IntRange(-1, 2).Draw(t, "until")) * time.Second)})
		}
	}
	for _, name := range names {
		if rapid.Bool().Draw(t, "weighted") {
			s.Weights[name] = float64(rapid.IntRange(1, 4).Draw(t, "weight"))
		}
	}
	return s
})

func TestNothingIsOfferedTwiceOrToTheWrongRole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genState.Draw(t, "state")
		r := allocator.Allocate(s)
		answered := map[string]int{}
		left := map[resources.AgentID]resources.Resources{}
		for _, a := range s.Agents {
			left[a.ID] = a.Available
		}
		for _, g := range r.Grants {
			if !left[g.Agent].Contains(g.Resources) {
				t.Fatalf("agent %s has %s left, %s is offered", g.Agent, left[g.Agent], g.Resources)
			}
			left[g.Agent] = left[g.Agent].Sub(g.Resources)
			if others := g.Resources.Reservations().Sub(g.Resources.Reserved(g.Role)); !others.Empty() {
				t.Fatalf("role %s is offered %s", g.Role, others)
			}
			answered[string(g.Framework)+" "+string(g.Agent)]++
		}
		for _, x := range r.Reasons {
			answered[string(x.Framework)+" "+string(x.Agent)]++
		}
		for _, f := range s.Frameworks {
			for _, a := range s.Agents {
				if n := answered[string(f.ID)+" "+string(a.ID)]; n != 1 {
					t.Fatalf("framework %s has %d answers about agent %s, want a grant or a reason", f.ID, n, a.ID)
				}
			}
		}
	})
}

func TestTheOrderOfTheInputDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genState.Draw(t, "state")
		want := describe(allocator.Allocate(s))
		slices.Reverse(s.Agents)
		slices.Reverse(s.Frameworks)
		slices.Reverse(s.Filters)
		if got := describe(allocator.Allocate(s)); got != want {
			t.Fatalf("in reverse:\n%s\nelse:\n%s", got, want)
		}
	})
}

// TestItAgreesWithTheNaiveTwin compares with an allocation that computes every share from nothing each time, in exact fractions.
func TestItAgreesWithTheNaiveTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genState.Draw(t, "state")
		want := naive(s)
		var got []string
		for _, g := range allocator.Allocate(s).Grants {
			got = append(got, fmt.Sprintf("%s %s %s", g.Agent, g.Framework, g.Resources))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
	})
}

func naive(s allocator.State) (grants []string) {
	s.Frameworks = slices.Clone(s.Frameworks)
	for _, a := range s.Agents { // their ids are in order
		left := a.Available
		asked := map[resources.FrameworkID]bool{}
		for range s.Frameworks {
			best := -1
			for i, f := range s.Frameworks {
				if !asked[f.ID] && (best < 0 || before(s, f, s.Frameworks[best])) {
					best = i
				}
			}
			f := &s.Frameworks[best]
			asked[f.ID] = true
			var offer resources.Resources
			for _, x := range left {
				if x.Reservation == nil || x.Reservation.Role == f.Role {
					offer = offer.Add(resources.Resources{x})
				}
			}
			enough := len(offer.Reservations()) > 0 || offer.Amount("cpus") >= 10 || offer.Amount("mem") >= 32_000
			held := slices.ContainsFunc(s.Filters, func(x allocator.Filter) bool {
				return x.Framework == f.ID && x.Agent == a.ID && x.Until.After(s.Now) && x.Resources.Contains(offer)
			})
			if f.Suppressed || offer.Empty() || !enough || held {
				continue
			}
			grants = append(grants, fmt.Sprintf("%s %s %s", a.ID, f.ID, offer))
			f.Allocated = f.Allocated.Add(offer)
			left = left.Sub(offer)
		}
	}
	return grants
}

func before(s allocator.State, f, g allocator.Framework) bool {
	if c := roleShare(s, f.Role).Cmp(roleShare(s, g.Role)); c != 0 {
		return c < 0
	}
	if f.Role != g.Role {
		return f.Role < g.Role
	}
	if c := dominant(s, f.Allocated).Cmp(dominant(s, g.Allocated)); c != 0 {
		return c < 0
	}
	return f.ID < g.ID
}

func roleShare(s allocator.State, role string) *big.Rat {
	var held resources.Resources
	for _, f := range s.Frameworks {
		if f.Role == role {
			held = held.Add(f.Allocated.Unreserved())
		}
	}
	for _, a := range s.Agents {
		held = held.Add(a.Total.Reserved(role))
	}
	share := dominant(s, held)
	if w := s.Weights[role]; w > 0 {
		share.Quo(share, new(big.Rat).SetFloat64(w))
	}
	return share
}

func dominant(s allocator.State, held resources.Resources) *big.Rat {
	most := new(big.Rat)
	for _, name := range []string{"cpus", "mem"} {
		var total resources.Milli
		for _, a := range s.Agents {
			total += a.Total.Amount(name)
		}
		if total == 0 {
			continue
		}
		if share := big.NewRat(int64(held.Amount(name)), int64(total)); share.Cmp(most) > 0 {
			most = share
		}
	}
	return most
}
