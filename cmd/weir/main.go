// Command weir deploys and scales stacks of real services and runs pipelines through them. It only calls internal/cli.
package main

import (
	"os"

	"github.com/weir-project/weir/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
