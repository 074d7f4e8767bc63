// Package reconcile drives one service to what its spec says: observe -> decide -> evaluate -> accept, level-triggered. Each service is a
// framework of the resource layer with a loop of its own; every pass looks at one snapshot and carries out the candidates of the plan.
//
// It decides nothing: Decide, evaluate and the command builders are pure and given to it as a Kind. It stores attempts before offers are
// accepted (C2) and nothing else; everything it shows is derived.
//
//	s, err := reconcile.New(reconcile.Config{Spec: spec, Kind: kafkaKind, Master: master, Store: store})
//	go s.Run(ctx)
//	s.Status().Plan.Summary()
package reconcile
