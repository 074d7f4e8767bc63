package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weir-project/weir/resources"
	"github.com/weir-project/weir/resources/agent"
)

// recordKey is where in the ConfigMap an agent's record stands; docs/formats describes it.
const recordKey = "agent.json"

// errTaken says that somebody else has written an agent's record: another server's agent for the same node.
var errTaken = errors.New("another writer has changed this agent's record since it was read")

// record is what an agent must find again, in a ConfigMap of the cluster. Each write names the version that it follows (I8), so that of
// two agents of one node only one can go on.
type record struct {
	api   *api
	meta  metav1.ObjectMeta // its version is that of the last read or write; empty: there is none yet
	agent resources.AgentID
}

func newRecord(a *api, install string, id resources.AgentID) *record {
	return &record{api: a, agent: id, meta: metav1.ObjectMeta{Name: recordName(install, id), Namespace: a.namespace,
		Labels: labels(install, id), Annotations: map[string]string{annotationAgent: string(id)}}}
}

// load reads it; nil when there is none.
func (r *record) load(ctx context.Context) (*agent.Saved, error) {
	var m corev1.ConfigMap
	err := r.api.get(ctx, "configmaps", r.meta.Name, &m)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	saved, err := parseRecord(&m)
	if err != nil {
		return nil, err
	}
	if saved.ID != r.agent {
		return nil, fmt.Errorf("read ConfigMap %s: it is the record of agent %s, not of %s", m.Name, saved.ID, r.agent)
	}
	r.meta.ResourceVersion, r.meta.UID = m.ResourceVersion, m.UID
	return saved, nil
}

func parseRecord(m *corev1.ConfigMap) (*agent.Saved, error) {
	var saved agent.Saved
	if err := json.Unmarshal([]byte(m.Data[recordKey]), &saved); err != nil {
		return nil, fmt.Errorf("read ConfigMap %s: %w", m.Name, err)
	}
	if saved.Version != 1 {
		return nil, fmt.Errorf("read ConfigMap %s: version %d is unknown; version 1 is known", m.Name, saved.Version)
	}
	return &saved, nil
}

// save writes it. errTaken, and any other error, means that what follows must not be done.
func (r *record) save(ctx context.Context, saved agent.Saved) error {
	for i := range saved.Tasks {
		// A command is not needed again once its pod exists, and it is most of the record's size, which is bounded.
		saved.Tasks[i].Info.Command = resources.Command{}
	}
	data, err := json.Marshal(saved)
	if err != nil {
		return fmt.Errorf("write the record of agent %s: %w", r.agent, err)
	}
	body := &corev1.ConfigMap{ObjectMeta: r.meta, Data: map[string]string{recordKey: string(data)}}
	var now corev1.ConfigMap
	if r.meta.ResourceVersion == "" {
		err = r.api.create(ctx, "configmaps", r.meta.Name, body, &now)
	} else {
		err = r.api.update(ctx, "configmaps", r.meta.Name, body, &now)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("write the record of agent %s: %w: %w", r.agent, errTaken, err)
	}
	if err != nil {
		return err
	}
	r.meta.ResourceVersion, r.meta.UID = now.ResourceVersion, now.UID
	return nil
}

// forget deletes the record of a node that is gone, unless somebody has changed it.
func (r *record) forget(ctx context.Context) error {
	if r.meta.ResourceVersion == "" {
		return nil
	}
	return r.api.remove(ctx, "configmaps", r.meta.Name, r.meta.UID, r.meta.ResourceVersion)
}
