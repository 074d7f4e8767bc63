//go:build !linux

package main

import (
	"fmt"
	"runtime"
)

const stageCommand = "exec"

func refuse() error {
	return fmt.Errorf("supervising tasks needs Linux (pidfd, /proc), this is %s; use weir run to execute a pipeline here", runtime.GOOS)
}

func enter([]string) error   { return refuse() }
func run(string) error       { return refuse() }
func supervise(string) error { return refuse() }
