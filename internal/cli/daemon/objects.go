package daemon

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/weir-project/weir/internal/cli/api"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/kube"
	"github.com/weir-project/weir/operators"
	"github.com/weir-project/weir/stacks"
	"github.com/weir-project/weir/stacks/kubernetes"
)

// Kubernetes says which cluster's Stack objects are the server's stacks.
type Kubernetes struct {
	Kubeconfig string // empty: $KUBECONFIG, the user's own, or the pod's service account
	Namespace  string // empty: the context's, or the pod's
}

// follow finds the cluster before anything is opened: a server that cannot find it leaves nothing behind (I7).
func (d *Daemon) follow() (err error) {
	if d.cfg.Kubernetes == nil {
		return nil
	}
	config, namespace, err := kube.Load(d.cfg.Kubernetes.Kubeconfig, d.cfg.Kubernetes.Namespace)
	if err != nil {
		return err
	}
	d.objects, err = kubernetes.New(kubernetes.Config{Rest: config, Namespace: namespace, Server: objects{d}, Log: d.cfg.Log})
	if err == nil {
		d.cfg.Log.Info("following Stack objects", "namespace", namespace, "server", config.Host)
	}
	return err
}

// objects is the daemon as Stack objects see it. What they ask takes the same road as a command's request.
type objects struct{ d *Daemon }

// Apply takes the road of `weir up`. Paths in pipelines resolve against a folder of the stack's own in the state directory (C11).
func (o objects) Apply(ctx context.Context, k kubernetes.Object) error {
	folder := filepath.Join("stacks", k.Name)
	if err := o.d.root.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("make the folder of stack %s: %w", k.Name, err)
	}
	dir := filepath.Join(o.d.cfg.State, folder)
	b := api.Bundle{File: filepath.Join(dir, kubernetes.Document), Source: k.Source, Files: k.Files,
		Object: &api.Origin{Namespace: k.Namespace, UID: k.UID, Generation: k.Generation}}
	// Diagnostics name files as the user knows them: without the folder.
	r, err := stacks.Resolve(stacks.Bundle{File: kubernetes.Document, Dir: dir, Source: b.Source, Files: b.Files})
	if err != nil {
		return err
	}
	_, err = change(ctx, o.d, func(ctx context.Context) (api.Apply, error) { return o.d.apply(ctx, b, r, "") })
	return err
}

// Status is what `weir get` prints, in the object's form.
func (o objects) Status(ctx context.Context, name, uid string) (kubernetes.Status, bool, error) {
	s, err := ask(ctx, o.d, func() (*api.Stack, error) {
		s := o.d.stacks[name]
		if at := s.origin(); at == nil || at.UID != uid {
			return nil, nil
		}
		st := s.status()
		return &st, nil
	})
	if err != nil || s == nil {
		return kubernetes.Status{}, false, err
	}
	return objectStatus(s), true, nil
}

func objectStatus(s *api.Stack) kubernetes.Status {
	out := kubernetes.Status{Phase: s.State}
	out.Reason, _ = api.Steady(s.Reason)
	for _, v := range s.Services {
		reason, _ := api.Steady(v.Reason) // a countdown would make every look a change
		out.Services = append(out.Services, kubernetes.Service{Name: v.Name, Operator: v.Operator, Version: v.Version, State: v.State, Endpoint: v.Endpoint,
			Reason: reason, Size: v.Want, Ready: v.Ready})
	}
	for _, p := range s.Pipelines {
		reason, _ := api.Steady(p.Reason)
		out.Pipelines = append(out.Pipelines, kubernetes.Pipeline{Name: p.Name, State: p.State, Reason: reason, Run: p.Run})
	}
	return out
}

// End stops a stack whose object goes, workers first, and keeps its data, as `weir down` does.
func (o objects) End(ctx context.Context, name, uid string) (bool, error) {
	return ask(ctx, o.d, func() (bool, error) {
		s := o.d.stacks[name]
		at := s.origin()
		if at == nil || at.UID != uid || at.Ended {
			return true, nil
		}
		record := s.record
		record.Down = true
		if s.record.Down && s.halt() == 0 {
			ended := *at
			ended.Ended = true
			record.Bundle.Object = &ended
		} else if s.record.Down {
			return false, nil
		}
		if err := o.d.saveStack(ctx, name, record); err != nil {
			return false, err
		}
		s.record = record
		return record.Bundle.Object.Ended, nil
	})
}

// halt lets a stack's tasks end, workers before what they write to, and returns how many may still run.
func (s *stack) halt() int {
	workers, others := 0, 0
	for _, v := range s.services {
		if v.spec.Operator == operators.Stream {
			workers += v.stop()
		}
	}
	if workers > 0 {
		return workers
	}
	for _, v := range s.services {
		others += v.stop()
	}
	return others
}

// Applied lists the stacks that came from objects and have not ended.
func (o objects) Applied(ctx context.Context) (map[string]string, error) {
	return ask(ctx, o.d, func() (map[string]string, error) {
		out := map[string]string{}
		for name, s := range o.d.stacks {
			if at := s.origin(); at != nil && !at.Ended {
				out[at.UID] = name
			}
		}
		return out, nil
	})
}

// origin is the object that a stack came from; nil where it came from a command, or is not there.
func (s *stack) origin() *api.Origin {
	if s == nil {
		return nil
	}
	return s.record.Bundle.Object
}

// checkOwner refuses a bundle that comes from elsewhere than the stack did: one of the two would undo what the other says.
func (s *stack) checkOwner(by *api.Origin) error {
	if s == nil {
		return nil
	}
	has := s.origin()
	switch {
	case has == nil && (by == nil || s.record.Down), by == nil && has.Ended:
		return nil
	case has == nil:
		return fault.Denied("E-OWNER", "apply stack", s.name, fault.Causef("a stack of that name was applied with weir up"), fault.Hint("weir down stops it and keeps its data for the object, or give the object another name"))
	case by == nil:
		return fault.Denied("E-OWNER", "apply stack", s.name, fault.Causef("it belongs to the Stack object %s/%s", has.Namespace, s.name), fault.Hintf("kubectl -n %s apply -f STACK.yaml, or kubectl -n %s edit stack %s", has.Namespace, has.Namespace, s.name))
	case has.UID == by.UID && (has.Ended || by.Generation < has.Generation):
		return kubernetes.ErrStale
	case has.UID != by.UID && !has.Ended:
		return fault.New("E-ENDING", "apply stack", s.name, fault.Causef("the services of the object that had this name before have not ended"), fault.Hint("wait; it is tried again"))
	}
	return nil
}
