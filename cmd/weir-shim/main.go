// Command weir-shim supervises one process, so that it outlives the agent that asked for it.
//
//	weir-shim run DIR         runs DIR/intent.json once and records how it ended in DIR/exit.json
//	weir-shim supervise DIR   keeps the intent's command running until SIGTERM, or until DIR/stop exists
//
// SIGTERM to the shim is SIGTERM to the process group of the task, and SIGKILL after the intent's grace. The task's output
// goes to files, never through the shim, so that the shim's death leaves the task as it was. The package shim describes the
// folder. It never restarts what `run` ran, never reads what the task writes, and uses the standard library alone.
package main

import (
	"fmt"
	"os"
)

// The exit codes: 64 is a wrong command line, 1 a folder that cannot be used. How the task ended is in the folder.
const (
	exitFailed = 1
	exitUsage  = 64
)

func main() {
	if err := dispatch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "weir-shim:", err)
		if _, usage := err.(usageError); usage {
			os.Exit(exitUsage)
		}
		os.Exit(exitFailed)
	}
}

type usageError string

func (u usageError) Error() string { return string(u) }

func dispatch(args []string) error {
	if len(args) > 0 && args[0] == stageCommand {
		return enter(args[1:])
	}
	if len(args) != 2 || args[0] != "run" && args[0] != "supervise" {
		return usageError("usage: weir-shim run DIR | weir-shim supervise DIR")
	}
	if args[0] == "run" {
		return run(args[1])
	}
	return supervise(args[1])
}
