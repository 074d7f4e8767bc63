package autoscale

import (
	"fmt"
	"math"
	"strconv"
)

// held says what holds back the stages that ask for more workers and would not be served by them; empty where none is held.
func (d *decision) held() string {
	for i := range d.demands {
		s := &d.demands[i]
		switch s.Bound {
		case boundSink:
			what := "the commits of its slots"
			if s.inSink() {
				what = "the sink " + s.Sink
			}
			return fmt.Sprintf("stage %s is held by %s, which takes %s rows/s whatever the workers: its %s spend %s of their time waiting for it while the workers use %s of %s cores",
				s.Name, what, number(s.Rate), count(s.Numbers.Slots, "slot"), percent(s.Blocked), cores(d.o.CPU.Value), cores(d.capacity()))
		case boundMachine:
			return fmt.Sprintf("stage %s: the machine is full: %s of its cores are free while the workers use %s of the %s that they may. Its slots are at work for %s of their time, which is mostly waiting for a core: more workers would wait beside them",
				s.Name, cores(d.o.Free.Value), cores(d.o.CPU.Value), cores(d.capacity()), percent(s.Busy))
		case boundSlot:
			if s.hotAsks > 1 {
				return fmt.Sprintf("stage %s: slot %d alone asks for %s cores and is one thread; %s of %s rows that wait stand before it. More workers cannot share it: more partitions or another key can",
					s.Name, s.hot.Index, cores(s.hotAsks), number(s.hot.Lag), number(s.Lag))
			}
			return fmt.Sprintf("stage %s: a slot of its %d is at work all the time while the workers use %s of %s cores: a slot is one thread, so that more slots would help, and more workers do not",
				s.Name, s.Numbers.Slots, cores(d.o.CPU.Value), cores(d.capacity()))
		case boundUnclear:
			return fmt.Sprintf("stage %s falls behind (%s of %s rows/s) and neither the workers (%s of %s cores) nor its sink (%s of its slots' time) nor a slot (%s at work) is at its limit: more workers would not help",
				s.Name, number(s.Rate), number(s.Target), cores(d.o.CPU.Value), cores(d.capacity()), percent(s.Blocked), percent(s.busiest()))
		}
	}
	return ""
}

// next is what a person would type who wants the reason to go away.
func (d *decision) next() string {
	switch {
	case d.o.Changing != "":
		return "weir rollout " + d.o.Service
	case d.Verdict == Unknown:
		return "weir get pipelines"
	case d.Verdict != Refused && len(d.demands) > 0 && d.Needs > d.o.Max:
		return fmt.Sprintf("raise max above %d for %s in the stack file, then weir up STACK.yaml", d.o.Max, d.o.Service)
	case d.Verdict != Refused:
		return ""
	}
	for i := range d.demands {
		switch d.demands[i].Bound {
		case boundSink:
			return "weir get services"
		case boundSlot:
			return "give the pipeline more partitions or another key, then weir plan STACK.yaml"
		case boundMachine:
			return "weir get tasks"
		}
	}
	if d.room() <= 0 {
		return "weir get tasks" // and what they hold
	}
	return "weir get pipelines"
}

// inSink reports whether a stage waits more for what it does after a commit than for the commit.
func (d *demand) inSink() bool {
	all, sink := 0.0, 0.0
	for _, s := range d.Stage.Slots {
		all += s.Blocked
		sink += s.InSink
	}
	return d.Sink != "" && sink*2 >= all
}

// explain adds the numbers, stage by stage.
func (d *decision) explain(needs float64) {
	d.because("%s of %s cores in use, %s needed; %s a worker, %s busy at most, %s cores of the machine free", cores(d.o.CPU.Value), cores(d.capacity()), cores(needs),
		coreCount(d.o.Cores), percent(d.o.Hottest), free(d.o))
	for i := range d.demands {
		s := &d.demands[i]
		r := Reason{Text: fmt.Sprintf("stage %s (%s): %s", s.Name, count(s.Numbers.Slots, "slot"), s.line())}
		r.Under = append(r.Under, Reason{Text: fmt.Sprintf("its slots are at work for %s of their time, wait for commit and sink for %s, for input for %s", percent(s.Busy), percent(s.Blocked), percent(s.idle))})
		if s.hotAsks > 1 {
			r.Under = append(r.Under, Reason{Text: fmt.Sprintf("slot %d asks for %s cores and is one thread: one is counted", s.hot.Index, cores(s.hotAsks))})
		}
		if s.Bound != "" {
			r.Under = append(r.Under, Reason{Text: "it falls behind; what bounds it: " + s.Bound})
		}
		d.Reason.Under = append(d.Reason.Under, r)
	}
}

func free(o Observed) string {
	if !o.Free.Known {
		return "unknown"
	}
	return cores(o.Free.Value)
}

func (d *demand) line() string {
	if d.greedy {
		return fmt.Sprintf("%s rows/s, as fast as it goes, with %s cores", number(d.Rate), cores(d.Cores))
	}
	text := fmt.Sprintf("%s rows/s arrive, %s are processed with %s cores", number(d.Arrival), number(d.Rate), cores(d.Cores))
	if d.Rate > 0 {
		text += fmt.Sprintf(" (%s µs a row)", strconv.FormatFloat(d.Cores/d.Rate*1e6, 'f', 1, 64))
	}
	if d.Lag > steady*d.Arrival+1 {
		text += fmt.Sprintf("; with the backlog of %s rows %s rows/s are to be reached", number(d.Lag), number(d.Target))
	}
	return text + fmt.Sprintf(", which takes %s cores", cores(d.Needs))
}

func workers(n int) string { return count(n, "worker") }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func coreCount(c float64) string {
	if c == 1 {
		return "1 core"
	}
	return strconv.FormatFloat(c, 'f', -1, 64) + " cores"
}

func cores(c float64) string { return strconv.FormatFloat(c, 'f', 2, 64) }

func percent(share float64) string { return strconv.Itoa(int(math.Round(share*100))) + " %" }

// number prints a rate or an amount with its thousands apart; below ten with one decimal.
func number(v float64) string {
	if v != math.Trunc(v) && math.Abs(v) < 10 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
