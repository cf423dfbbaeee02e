package namespace

import (
	"context"
	"encoding/json"
	"fmt"

	"connectrpc.com/connect"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
)

// grow puts the roles of new namespaces into the plan. A new role has the defaults: no guarantee, and what others leave it.
func (m *Map) grow(ctx context.Context) error {
	namespaces, err := m.namespaces.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, ns := range namespaces {
		path := ns.Annotations[RoleAnnotation]
		if ns.Annotations[NewRoleAnnotation] == "" || ns.DeletionTimestamp != nil {
			continue
		}
		if !m.has(path) {
			if err := m.addRole(ctx, path, ns.Name); err != nil {
				return fmt.Errorf("role %s of namespace %s: %w", path, ns.Name, err)
			}
		}
		patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"uid": ns.UID, "annotations": map[string]any{NewRoleAnnotation: nil}}}) // of plain values: never fails
		_, err := m.kube.CoreV1().Namespaces().Patch(ctx, ns.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

// addRole adds one role to the plan as it is. When somebody else changes the plan meanwhile, the next look tries again.
func (m *Map) addRole(ctx context.Context, path, namespace string) error {
	res, err := m.client.Plans.Get(ctx, connect.NewRequest(&polderv1.PlanServiceGetRequest{}))
	if err != nil {
		return err
	}
	plan, err := planfile.Parse([]byte(res.Msg.Yaml))
	if err != nil {
		return err
	}
	if _, there := plan.Roles[path]; there {
		return nil
	}
	if plan.Roles == nil {
		plan.Roles = map[string]role.RoleSpec{}
	}
	plan.Roles[path] = role.RoleSpec{}
	text, err := planfile.Marshal(plan)
	if err != nil {
		return err
	}
	_, err = m.client.Plans.Apply(ctx, connect.NewRequest(&polderv1.ApplyRequest{
		Plan: string(text), BaseRevision: res.Msg.Revision.GetRevision(), Comment: "role of the new namespace " + namespace + " of Kubernetes",
	}))
	return err
}
