package resources_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-project/weir/resources"
)

var (
	roles = rapid.SampledFrom([]string{"", "kafka", "cassandra"})
	pods  = rapid.SampledFrom([]string{"", "a-0", "a-1"})
)

// genResource draws one resource; ports and addresses come from the pool of the side, so that sides can be made disjoint.
func genResource(side int) *rapid.Generator[resources.Resource] {
	return rapid.Custom(func(t *rapid.T) resources.Resource {
		var r resources.Resource
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			r = resources.Scalar(rapid.SampledFrom([]string{"cpus", "mem", "gpus"}).Draw(t, "name"), resources.Milli(rapid.IntRange(0, 5000).Draw(t, "amount")))
		case 1:
			begin := rapid.IntRange(0, 400).Draw(t, "begin")
			r = resources.RangesOf("ports", resources.Range{Begin: uint16(side*1000 + begin), End: uint16(side*1000 + begin + rapid.IntRange(0, 50).Draw(t, "length"))})
		case 2:
			r = resources.SetOf("addresses", rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
				return "127.20." + string(rune('0'+side)) + "." + string(rune('1'+rapid.IntRange(0, 8).Draw(t, "last")))
			}), 0, 4).Draw(t, "items")...)
		default:
			r = resources.Scalar("disk", resources.Milli(rapid.IntRange(0, 5000).Draw(t, "amount")))
		}
		if role := roles.Draw(t, "role"); role != "" {
			var labels map[string]string
			if pod := pods.Draw(t, "pod"); pod != "" {
				labels = map[string]string{"pod": pod}
			}
			r = r.ReservedFor(role, labels)
			if r.Name == "disk" && rapid.Bool().Draw(t, "volume") {
				r = r.WithVolume(rapid.SampledFrom([]string{"v1", "v2"}).Draw(t, "id"), "data")
			}
		}
		return r
	})
}

func draw(t *rapid.T, side int, name string) resources.Resources {
	return resources.Resources(rapid.SliceOfN(genResource(side), 0, 6).Draw(t, name))
}

func TestArithmeticObeysItsLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Ranges and sets are joined, not counted: the laws of subtraction hold for what is disjoint.
		a, b, c := draw(t, 0, "a"), draw(t, 1, "b"), draw(t, 2, "c")
		equal := func(law string, x, y resources.Resources) {
			t.Helper()
			if !x.Equal(y) {
				t.Fatalf("%s: %s is not %s (a=%s b=%s c=%s)", law, x, y, a, b, c)
			}
		}
		equal("a+b-b = a", a.Add(b).Sub(b), a)
		equal("a+b = b+a", a.Add(b), b.Add(a))
		equal("(a+b)+c = a+(b+c)", a.Add(b).Add(c), a.Add(b.Add(c)))
		equal("a-a = nothing", a.Sub(a), nil)
		equal("unreserved + reservations = a", a.Unreserved().Add(a.Reservations()), a)
		equal("normal twice = normal", a.Normal().Normal(), a)
		if !a.Add(b).Contains(a) || !a.Contains(nil) || !a.Contains(a) {
			t.Fatalf("a+b contains a, a contains nothing and itself: a=%s b=%s", a, b)
		}
		if a.Contains(b) && b.Contains(a) != a.Equal(b) {
			t.Fatalf("two that contain each other are equal: a=%s b=%s", a, b)
		}
	})
}

func TestContainsMeansThatNothingIsLostBySubtraction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, 0, "a"), draw(t, 0, "b")
		if restored := a.Sub(b).Add(b).Equal(a.Normal()); a.Contains(b) && !restored {
			t.Fatalf("a contains b, but a-b+b is not a: a=%s b=%s", a, b)
		}
		if !a.Contains(b) && a.Sub(b).Add(b).Equal(a) {
			t.Fatalf("a does not contain b, but a-b+b is a: a=%s b=%s", a, b)
		}
		for _, x := range a.Sub(b) {
			if x.Scalar < 0 || x.Empty() {
				t.Fatalf("a-b holds %s", x)
			}
		}
	})
}

func TestTextIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := draw(t, 0, "a")
		back, err := resources.Parse(a.String())
		if err != nil || !back.Equal(a) {
			t.Fatalf("%q is read back as %s, %v", a, back, err)
		}
	})
}

func TestTextIsThatOfMesos(t *testing.T) {
	r := resources.Resources{
		resources.RangesOf("ports", resources.Range{Begin: 9050, End: 9100}, resources.Range{Begin: 9000, End: 9049}, resources.Range{Begin: 80, End: 80}),
		resources.Scalar("mem", resources.Whole(8192)),
		resources.Scalar("cpus", 200).ReservedFor("kafka", map[string]string{"pod": "kafka-0"}),
		resources.Scalar("disk", resources.Whole(512)).ReservedFor("kafka", nil).WithVolume("v1", "data"),
		resources.SetOf("addresses", "127.20.0.3", "127.20.0.2", "127.20.0.3"),
	}
	want := "addresses:{127.20.0.2, 127.20.0.3}; cpus(kafka){pod: kafka-0}:0.2; disk(kafka)[v1:data]:512; mem:8192; ports:[80-80, 9000-9100]"
	if got := r.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBadTextIsRefused(t *testing.T) {
	for _, text := range []string{"cpus", "cpus:", "cpus:1.2345", "cpus:-1", "cpus:1e3", ":1", "ports:[9-1]", "ports:[1-70000]", "cpus(a:1", "cpus(a){b}:1"} {
		if r, err := resources.Parse(text); err == nil {
			t.Errorf("%q is read as %s, want an error", text, r)
		}
	}
}

func TestMilli(t *testing.T) {
	for text, want := range map[string]resources.Milli{"0": 0, "0.2": 200, "1.375": 1375, "8192": 8_192_000, "0.001": 1} {
		got, err := resources.ParseMilli(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s is %d (%s), %v; want %d", text, got, got, err, want)
		}
	}
	if resources.Milli(1001).Ceil() != 2 || resources.Milli(2000).Ceil() != 2 || resources.Milli(-200).String() != "-0.2" {
		t.Error("rounding up or the sign is wrong")
	}
}

func TestOperationsTurnOneKindIntoAnother(t *testing.T) {
	parse := func(s string) resources.Resources {
		r, err := resources.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := parse("cpus:2; disk:100; mem:512")
	for _, step := range []struct {
		op               resources.OperationType
		what, then, fail string
	}{
		{resources.Reserve, "disk(k){pod: k-0}:40; cpus(k){pod: k-0}:1", "cpus:1; cpus(k){pod: k-0}:1; disk:60; disk(k){pod: k-0}:40; mem:512", ""},
		{resources.Create, "disk(k){pod: k-0}[v:data]:50", "", "it needs disk(k){pod: k-0}:50, there is disk:60; disk(k){pod: k-0}:40"},
		{resources.Create, "disk(k){pod: k-0}[v:data]:30", "cpus:1; cpus(k){pod: k-0}:1; disk:60; disk(k){pod: k-0}:10; disk(k){pod: k-0}[v:data]:30; mem:512", ""},
		{resources.Create, "disk(k){pod: k-0}[v:data]:10", "", "volume v exists already"},
		{resources.Unreserve, "disk(k){pod: k-0}[v:data]:30", "", "CREATE and DESTROY"},
		{resources.Unreserve, "disk(k){pod: k-0}:40", "", "it needs disk(k){pod: k-0}:40"},
		{resources.Reserve, "cpus:1", "", "no reservation"},
		{resources.Reserve, "cpus(k):0", "", "names no resources"},
		{resources.Create, "mem(k)[v:x]:1", "", "only disk"},
		{resources.Create, "disk(k)[../v:x]:1", "", "byte 1"},
		{resources.Launch, "cpus(k):1", "", "changes no resources"},
		{resources.Destroy, "disk(k){pod: k-0}[v:data]:30", "cpus:1; cpus(k){pod: k-0}:1; disk:60; disk(k){pod: k-0}:40; mem:512", ""},
		{resources.Unreserve, "disk(k){pod: k-0}:40; cpus(k){pod: k-0}:1", "cpus:2; disk:100; mem:512", ""},
	} {
		got, err := r.Perform(resources.Operation{Type: step.op, Resources: parse(step.what)})
		switch {
		case step.fail != "" && (err == nil || !strings.Contains(err.Error(), step.fail)):
			t.Errorf("%s %s: %v, want %q", step.op, step.what, err, step.fail)
		case step.fail == "" && err != nil:
			t.Errorf("%s %s: %v", step.op, step.what, err)
		case step.fail == "" && got.String() != step.then:
			t.Errorf("%s %s: %s, want %s", step.op, step.what, got, step.then)
		case step.fail == "":
			r = got
		}
	}
}

func TestFindTakesTheRolesOwnFirst(t *testing.T) {
	r, err := resources.Parse("cpus:2; cpus(k):1; disk(k)[v:data]:10; disk:5; ports:[10-20]; ports(k):[30-40]")
	if err != nil {
		t.Fatal(err)
	}
	want, err := resources.Parse("cpus:1.5; disk:5; ports:[15-16, 40-40]")
	if err != nil {
		t.Fatal(err)
	}
	got, ok := r.Find("k", want)
	if !ok || got.String() != "cpus:0.5; cpus(k):1; disk:5; ports:[15-16]; ports(k):[40-40]" {
		t.Errorf("found %s, %v", got, ok)
	}
	if got, ok := r.Find("other", want); ok {
		t.Errorf("another role found %s", got)
	}
}

func TestIdentifiersAreSafeInPaths(t *testing.T) {
	for id, good := range map[string]bool{"events-kafka-0.1": true, "0a": true, "A_b": true, "": false, ".": false, "..": false, ".a": false, "-a": false,
		"a/b": false, "a b": false, "ä": false, "a\x00": false, strings.Repeat("a", 201): false, strings.Repeat("a", 200): true} {
		if err := resources.CheckID(id); (err == nil) != good {
			t.Errorf("%.40q: %v, want good = %v", id, err, good)
		}
	}
}

func TestTaskDescriptionsAreChecked(t *testing.T) {
	good := resources.TaskInfo{ID: "a.1", Name: "a", Resources: resources.Resources{resources.Scalar("cpus", 100)}, Command: resources.Command{Argv: []string{"true"}}}
	if err := resources.CheckTask(good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*resources.TaskInfo){
		"no command":            func(t *resources.TaskInfo) { t.Command.Argv = nil },
		"no resources":          func(t *resources.TaskInfo) { t.Resources = nil },
		"its name":              func(t *resources.TaskInfo) { t.Name = "" },
		"identifier":            func(t *resources.TaskInfo) { t.ID = "../x" },
		"not inside":            func(t *resources.TaskInfo) { t.Files = []resources.File{{Path: "../x"}} },
		`"/etc/x" is not`:       func(t *resources.TaskInfo) { t.Files = []resources.File{{Path: "/etc/x"}} },
		`".shim/x" is not`:      func(t *resources.TaskInfo) { t.Files = []resources.File{{Path: ".shim/x"}} },
		"does not hold":         func(t *resources.TaskInfo) { t.Files = []resources.File{{Path: "{volume:v}/x"}} },
		"mode":                  func(t *resources.TaskInfo) { t.Files = []resources.File{{Path: "x", Mode: 0o4755}} },
		"have 1048577 bytes":    func(t *resources.TaskInfo) { t.Files = []resources.File{{Path: "x", Content: make([]byte, 1<<20+1)}} },
		"has '='":               func(t *resources.TaskInfo) { t.Command.Env = map[string]string{"A=B": ""} },
		"prepare":               func(t *resources.TaskInfo) { t.Command.Prepare = []resources.Prepare{{}} },
		"more than 2000 of":     func(t *resources.TaskInfo) { t.Command.Argv = make([]string, 2001); t.Command.Argv[0] = "x" },
		"its kill grace is -1s": func(t *resources.TaskInfo) { t.KillGrace = -1e9 },
	} {
		bad := good
		change(&bad)
		if err := resources.CheckTask(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
