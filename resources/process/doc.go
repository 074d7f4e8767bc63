// Package process is the agent whose tasks are processes of this host (Linux). It holds one mutual-TLS link to the server, and
// carries out what the pure resources/agent decides: sandboxes, volumes, shims, signals.
//
//	a, err := process.New(process.Config{
//		Dir: "/var/lib/weir/agent", ID: "local", Hostname: "localhost", Shim: "/usr/lib/weir/weir-shim",
//		Dial: func(ctx context.Context) (*link.Conn, error) { return link.Dial(ctx, url, tls, nil, link.Options{}) },
//	})
//	err = a.Run(ctx) // returns when ctx ends; the tasks run on, and the next Run adopts them
//
// Its folder:
//
//	agent.json          term, reservations, tasks (docs/formats)
//	tasks/ID/           a task's sandbox, 0700: its files, stdout, stderr
//	tasks/ID/.shim/     what it and its weir-shim say to each other (package shim)
//	volumes/ID/         persistent volumes, 0700
//
// It never decides what runs, never waits for a task by polling, never follows a path out of its folder, and never kills a
// task because it ends itself or because the server is away.
package process
