package stacks

// StatusDeclaration is the status of a Stack as a custom resource. The server writes it, in the words of `weir get`.
func StatusDeclaration() Field {
	reason := Field{Name: "reason", Kind: Text, Doc: "why it is not further"}
	return Field{Name: "status", Kind: Object, Doc: "how it stands, in the words of weir get", Fields: []Field{
		{Name: "observedGeneration", Kind: Whole, Doc: "the generation that this status is about"},
		{Name: "phase", Kind: Text, Doc: "refused, starting, running, complete, stopping, stopped or failed"},
		reason,
		{Name: "conditions", Kind: List, Most: 8, Doc: "Accepted, Ready and Progressing", Fields: []Field{
			{Name: "type", Kind: Text, Required: true, Doc: "Accepted, Ready or Progressing"},
			{Name: "status", Kind: Text, Required: true, Words: []string{"True", "False", "Unknown"}, Doc: "whether it holds"},
			{Name: "reason", Kind: Text, Required: true, Doc: "why, in one word for programs"},
			{Name: "message", Kind: Text, Most: 32768, Doc: "why, for people"},
			{Name: "observedGeneration", Kind: Whole, Doc: "the generation that it is about"},
			{Name: "lastTransitionTime", Kind: Moment, Required: true, Doc: "since when"},
		}},
		{Name: "services", Kind: List, Most: maxServices, Doc: "the services, by name", Fields: []Field{
			{Name: "name", Kind: Text, Required: true, Doc: "name of the service"},
			{Name: "operator", Kind: Text, Doc: "which operator runs it"},
			{Name: "version", Kind: Text, Doc: "version that is wanted"},
			{Name: "size", Kind: Whole, Doc: "how many tasks are wanted"},
			{Name: "ready", Kind: Whole, Doc: "how many are ready"},
			{Name: "state", Kind: Text, Doc: "waiting, deploying, scaling, updating, ready, recovering or stopped"},
			{Name: "endpoint", Kind: Text, Doc: "where its clients find it"},
			reason,
		}},
		{Name: "pipelines", Kind: List, Most: maxFiles, Doc: "the pipelines, by name", Fields: []Field{
			{Name: "name", Kind: Text, Required: true, Doc: "name of the pipeline"},
			{Name: "run", Kind: Whole, Doc: "number of its run"},
			{Name: "state", Kind: Text, Doc: "waiting, running or complete"},
			reason,
		}},
	}}
}

// StatusSchema is the schema of the status alone.
func StatusSchema() Schema { return StatusDeclaration().schema() }

// Group, Plural and the rest name the custom resource.
const (
	Group      = "weir.dev"
	Version    = "v1"
	Plural     = "stacks"
	Definition = Plural + "." + Group
)

// CustomResource is the definition that a cluster is taught Stacks with.
func CustomResource() map[string]any {
	column := func(name, kind, path, doc string) Schema {
		return Schema{"name": name, "type": kind, "jsonPath": path, "description": doc}
	}
	version := Schema{
		"name": Version, "served": true, "storage": true,
		"schema":       Schema{"openAPIV3Schema": ResourceSchema()},
		"subresources": Schema{"status": Schema{}},
		"additionalPrinterColumns": []any{
			column("Phase", "string", ".status.phase", "how it stands"),
			column("Ready", "string", `.status.conditions[?(@.type=="Ready")].status`, "whether all services are ready"),
			column("Accepted", "string", `.status.conditions[?(@.type=="Accepted")].status`, "whether the last change was accepted"),
			column("Reason", "string", ".status.reason", "why it is not further"),
			column("Age", "date", ".metadata.creationTimestamp", "since when it is there"),
		},
	}
	return map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": Schema{"name": Definition},
		"spec": Schema{
			"group": Group, "scope": "Namespaced",
			"names":    Schema{"kind": "Stack", "listKind": "StackList", "plural": Plural, "singular": "stack"},
			"versions": []any{version},
		},
	}
}
