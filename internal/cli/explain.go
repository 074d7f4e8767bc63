package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/stacks"
)

func (a *app) explainCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "explain [stack[.FIELD]...]", Short: "Print the documentation of a field of the stack file",
		Long: `Prints what a field may hold, and the fields below it. Names of services are left out of the path.
"weir explain stack -o crd" prints the definition that a Kubernetes cluster is taught Stacks with.`,
		Example: "  weir explain stack.spec.services\n  weir explain stack.spec.services.brokers\n  weir explain stack -o crd | kubectl apply --server-side -f -",
		Args:    args(0, 1),
		RunE: func(_ *cobra.Command, argv []string) error {
			path := append(argv, "stack")[0]
			text, err := stacks.Explain(path)
			if err != nil {
				return err
			}
			switch output {
			case "text":
				_, err = fmt.Fprint(a.out, text)
			case "crd":
				err = encode(a.out, "yaml", stacks.CustomResource())
			default:
				known := []string{"text", "crd"}
				err = fault.Usage("E-USAGE", "print as", output, fault.Causef("there is no such format (formats: %s)", strings.Join(known, ", ")), fault.Hint(fault.DidYouMean(output, known, "weir explain stack")))
			}
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or crd")
	return c
}
