package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weir-project/weir/internal/cli/connect"
	"github.com/weir-project/weir/internal/cli/daemon"
	"github.com/weir-project/weir/internal/fault"
	"github.com/weir-project/weir/internal/link"
	"github.com/weir-project/weir/internal/natsserver"
	"github.com/weir-project/weir/internal/security"
	"github.com/weir-project/weir/operators/artifact"
	"github.com/weir-project/weir/pipelines/engine"
	"github.com/weir-project/weir/pipelines/physical"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func (a *app) serverCommand() *cobra.Command {
	var cluster daemon.Kubernetes
	var nodes daemon.Nodes
	var inCluster bool
	var health, agents string
	c := &cobra.Command{
		Use: "server", Short: "Run the server in the foreground (weir up starts it in the background)", Args: args(0, 0),
		Long: `Runs the server in the foreground. With --kubernetes the Stack objects of a namespace are its stacks (docs/kubernetes.md).`,
		RunE: func(c *cobra.Command, _ []string) error {
			config := daemon.Config{Health: health}
			nodes.Kubeconfig, nodes.Namespace = cluster.Kubeconfig, cluster.Namespace
			if err := nodesWanted(c.CommandPath(), agents, &nodes, &config); err != nil {
				return err
			}
			if inCluster {
				config.Kubernetes = &cluster
			} else if config.Nodes == nil && cluster != (daemon.Kubernetes{}) {
				return fault.Usage("E-USAGE", c.CommandPath(), "", fault.Causef("--kubeconfig and --namespace say which cluster is followed, and none is"), fault.Hint("add --kubernetes"))
			}
			dir, err := a.stateDir()
			if err != nil {
				return err
			}
			self, shimPath, err := binaries()
			if err != nil {
				return err
			}
			cache, err := artifact.DefaultDir()
			if err != nil {
				return err
			}
			config.State, config.Self, config.Shim, config.Cache, config.Build = dir, self, shimPath, cache, Build
			config.Log = slog.New(slog.NewTextHandler(a.err, nil))
			return daemon.Run(c.Context(), config)
		},
	}
	f := c.Flags()
	f.BoolVar(&inCluster, "kubernetes", false, "follow the Stack objects of a Kubernetes namespace")
	f.StringVar(&cluster.Kubeconfig, "kubeconfig", "", "how to reach the cluster (default $KUBECONFIG, ~/.kube/config, or the pod's service account)")
	f.StringVar(&cluster.Namespace, "namespace", "", "namespace of the Stack objects (default the context's, or the pod's)")
	f.StringVar(&agents, "agents", "process", "what runs tasks: this host (process), or the nodes of the cluster (kubernetes)")
	f.StringVar(&nodes.Image, "image", "", "image of the tasks' pods, with --agents kubernetes")
	f.StringVar(&nodes.Selector, "nodes", "", "label selector of the nodes that are agents (default all)")
	f.StringVar(&health, "health", "", "ADDRESS:PORT of an open listener that answers GET /health and nothing else")
	return c
}

// nodesWanted reads --agents and what belongs to it.
func nodesWanted(command, agents string, nodes *daemon.Nodes, config *daemon.Config) error {
	switch {
	case agents == "kubernetes" && nodes.Image == "":
		return fault.Usage("E-USAGE", command, "--agents kubernetes", fault.Causef("tasks are pods there, and no image is named to run them from"), fault.Hint("add --image IMAGE"))
	case agents == "kubernetes":
		config.Nodes = nodes
	case agents != "process":
		return fault.Usage("E-USAGE", command, "--agents "+agents, fault.Causef("there are two kinds of agents: process, kubernetes"), fault.Hint(fault.DidYouMean(agents, []string{"process", "kubernetes"}, "choose one")))
	case nodes.Image != "" || nodes.Selector != "":
		return fault.Usage("E-USAGE", command, "", fault.Causef("--image and --nodes are about the cluster's nodes, and this host is the agent"), fault.Hint("add --agents kubernetes"))
	}
	return nil
}

// workerCommand is what a stream worker's task runs. Its certificate stands in its sandbox; the certificate's name is its task id.
func (a *app) workerCommand() *cobra.Command {
	var server, task, certs string
	c := &cobra.Command{
		Use: "worker", Short: "Run a stream worker (the stream operator starts it)", Args: args(0, 0), Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error { return a.worker(c.Context(), server, task, certs) },
	}
	c.Flags().StringVar(&server, "server", "", "the server's URL")
	c.Flags().StringVar(&task, "task", "", "the task's id")
	c.Flags().StringVar(&certs, "certs", ".", "directory with "+workerBundle)
	return c
}

// natsServerCommand is what the task of a nats service runs.
func (a *app) natsServerCommand() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: "nats-server", Short: "Run a NATS (the nats operator starts it)", Args: args(0, 0), Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error { return natsserver.Run(c.Context(), config, a.err) },
	}
	c.Flags().StringVar(&config, "config", "nats.conf", "its configuration")
	return c
}

// workerBundle is the file of a worker's certificate, key and authority in its sandbox.
const workerBundle = "worker.pem"

func (a *app) worker(ctx context.Context, server, task, certs string) error {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || task == "" {
		return fault.Usage("E-USAGE", "start a worker", "", fault.Causef("--server %q is no https URL, or --task %q is empty", server, task), fault.Hint("the stream operator starts workers; weir run FILE runs a pipeline here"))
	}
	root, err := os.OpenRoot(filepath.Clean(certs))
	if err != nil {
		return fmt.Errorf("open the worker's certificates: %w", err)
	}
	defer root.Close()
	bundle, err := security.LoadBundle(root, workerBundle)
	if err != nil {
		return err
	}
	config, err := security.ClientTLS(bundle, "weir-server")
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(a.err, nil))
	pool := connect.NewPool(task)
	defer pool.Close() //nolint:errcheck // the slots have committed or will be taken over
	return engine.RunWorker(ctx, engine.WorkerConfig{
		Task: task, Build: Build, Log: log,
		Dial: func(ctx context.Context) (*link.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			return link.Dial(ctx, server+"/v1/worker", config, nil, link.Options{})
		},
		Connect: func(as physical.Assign) (engine.Connections, error) {
			return pool.With(as.Connections, as.Install), nil
		},
	})
}
