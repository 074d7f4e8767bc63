package autoscale

import (
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestStories runs what stands in testdata/stories: a fleet, a load that changes, and what is decided when.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		var s *sim
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "fleet":
				s = newSim(1, amount(t, d, "slots", 12), amount(t, d, "workers", 1))
			case "load":
				rate, from, began := word(t, d, 0), s.load(s.now), s.now
				if over, ok := value(t, d, "over"); ok { // a ramp
					s.load = func(at time.Duration) float64 { return from + (rate-from)*min(1, (at-began).Seconds()/over) }
				} else {
					s.load = constant(rate)
				}
			case "run":
				s.run(time.Duration(word(t, d, 0) * float64(time.Second)))
				return s.drain()
			case "kill":
				s.kill(int(word(t, d, 0)))
				return ""
			case "revive":
				s.revive(int(word(t, d, 0)))
				return ""
			case "why":
				return s.last.Reason.String()
			case "change": // the last one, with its reasons
				return s.changed.Reason.String()
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			set(t, d, s)
			return ""
		})
	})
}

// set reads what any command may change of the world.
func set(t *testing.T, d *datadriven.TestData, s *sim) {
	for _, f := range []struct {
		name string
		to   *float64
	}{{"cost", &s.cost}, {"cores", &s.cores}, {"machine", &s.host}, {"sink", &s.sink}, {"skew", &s.skew}, {"others", &s.other}, {"noise", &s.noise}} {
		if v, ok := value(t, d, f.name); ok {
			if *f.to = v; f.name == "cost" {
				*f.to = v / 1e6
			}
		}
	}
	if v, ok := value(t, d, "max"); ok {
		s.max = int(v)
	}
	if v, ok := value(t, d, "mute"); ok {
		s.mute[int(v)] = true
	}
}

func value(t *testing.T, d *datadriven.TestData, name string) (float64, bool) {
	if !d.HasArg(name) {
		return 0, false
	}
	var text string
	d.ScanArgs(t, name, &text)
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		d.Fatalf(t, "%s: %v", name, err)
	}
	return v, true
}

func amount(t *testing.T, d *datadriven.TestData, name string, otherwise int) int {
	if v, ok := value(t, d, name); ok {
		return int(v)
	}
	return otherwise
}

func word(t *testing.T, d *datadriven.TestData, i int) float64 {
	if i >= len(d.CmdArgs) {
		d.Fatalf(t, "%s wants a number", d.Cmd)
	}
	v, err := strconv.ParseFloat(d.CmdArgs[i].Key, 64)
	if err != nil {
		d.Fatalf(t, "%s: %v", d.Cmd, err)
	}
	return v
}
