package kubesuite

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsconfig "k8s.io/client-go/applyconfigurations/apps/v1"
)

func writeTests() []test {
	return []test{
		{"an update from a stale read is a conflict", staleUpdate},
		{"an apply with a stale resource version is a conflict", staleApply},
		{"only a change of the spec counts the generation up", generationCounts},
		{"the selector of a deployment can't change", selectorImmutable},
		{"mistakes are refused as invalid, with the field", invalidObjects},
		{"a namespace that doesn't exist is not found", unknownNamespace},
		{"an object that exists can't be created again", createTwice},
		{"lists are selected by labels and by name", selectedLists},
		{"a missing object is not found", missingObject},
		{"merge, strategic and json patches change what they name", patches},
		{"strict validation refuses unknown fields", strictFields},
	}
}

func staleUpdate(e *env) {
	stale := e.apply(e.app("shop:1", 1))
	fresh := stale.DeepCopy()
	fresh.Labels["round"] = "1"
	if _, err := e.client.AppsV1().Deployments(e.ns).Update(e.ctx, fresh, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
		e.Fatalf("first update: %v", err)
	}
	stale.Labels["round"] = "2"
	_, err := e.client.AppsV1().Deployments(e.ns).Update(e.ctx, stale, metav1.UpdateOptions{})
	if !apierrors.IsConflict(err) {
		e.Fatalf("update from a stale read: got %v, want a conflict", err)
	}
	e.wantContains("the conflict", err.Error(), `Operation cannot be fulfilled on deployments.apps "app": the object has been modified; please apply your changes to the latest version and try again`)
}

func staleApply(e *env) {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"a": "1"}}
	made, err := e.client.CoreV1().ConfigMaps(e.ns).Create(e.ctx, cm, metav1.CreateOptions{})
	if err != nil {
		e.Fatalf("create: %v", err)
	}
	changed := made.DeepCopy()
	changed.Data["a"] = "2"
	if _, err := e.client.CoreV1().ConfigMaps(e.ns).Update(e.ctx, changed, metav1.UpdateOptions{}); err != nil {
		e.Fatalf("update: %v", err)
	}
	body := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","resourceVersion":"` + made.ResourceVersion + `"},"data":{"b":"3"}}`)
	_, err = e.client.CoreV1().ConfigMaps(e.ns).Patch(e.ctx, "settings", types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: manager})
	if !apierrors.IsConflict(err) {
		e.Errorf("got %v, want a conflict", err)
	}
}

func generationCounts(e *env) {
	e.apply(e.app("shop:1", 1))
	labelled := e.apply(e.app("shop:1", 1).WithLabels(map[string]string{"extra": "yes"}))
	if labelled.Generation != 1 {
		e.Errorf("generation is %d after a change of labels, want 1", labelled.Generation)
	}
	if scaled := e.apply(e.app("shop:1", 2)); scaled.Generation != 2 {
		e.Errorf("generation is %d after a change of the spec, want 2", scaled.Generation)
	}
	after := e.awaitRollout()
	if after.Generation != 2 || after.Status.ObservedGeneration != 2 {
		e.Errorf("generation is %d and observed %d after the rollout, want 2: reports must not count", after.Generation, after.Status.ObservedGeneration)
	}
}

func selectorImmutable(e *env) {
	e.apply(e.app("shop:1", 1))
	other := e.app("shop:1", 1)
	other.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
	other.Spec.Template.Labels = map[string]string{"app": "other"}
	_, err := e.client.AppsV1().Deployments(e.ns).Apply(e.ctx, other, applyAs(manager))
	if !apierrors.IsInvalid(err) {
		e.Fatalf("got %v, want invalid", err)
	}
	e.wantContains("the refusal", err.Error(), `Deployment.apps "app" is invalid: spec.selector: Invalid value`, "field is immutable")
}

func invalidObjects(e *env) {
	cases := []struct {
		name string
		edit func(*appsconfig.DeploymentApplyConfiguration)
		want string
	}{
		{"no selector", func(d *appsconfig.DeploymentApplyConfiguration) { d.Spec.Selector = nil }, "spec.selector: Required value"},
		{"a selector that doesn't match", func(d *appsconfig.DeploymentApplyConfiguration) {
			d.Spec.Template.Labels = map[string]string{"app": "other"}
		}, "`selector` does not match template `labels`"},
		{"no container", func(d *appsconfig.DeploymentApplyConfiguration) { d.Spec.Template.Spec.Containers = nil }, "spec.template.spec.containers: Required value"},
		{"no image", func(d *appsconfig.DeploymentApplyConfiguration) { d.Spec.Template.Spec.Containers[0].Image = nil }, "spec.template.spec.containers[0].image: Required value"},
		{"negative replicas", func(d *appsconfig.DeploymentApplyConfiguration) { d.Spec.WithReplicas(-1) }, "spec.replicas: Invalid value: -1"},
		{"a name with capitals", func(d *appsconfig.DeploymentApplyConfiguration) { d.WithName("App") }, "a lowercase RFC 1123 subdomain must consist of"},
		{"a label that is too odd", func(d *appsconfig.DeploymentApplyConfiguration) {
			d.WithLabels(map[string]string{"a": "not a label"})
		}, "metadata.labels: Invalid value"},
		{"restart never", func(d *appsconfig.DeploymentApplyConfiguration) {
			d.Spec.Template.Spec.WithRestartPolicy(corev1.RestartPolicyNever)
		}, `spec.template.spec.restartPolicy: Unsupported value: "Never"`},
	}
	for _, tc := range cases {
		d := e.app("shop:1", 1)
		tc.edit(d)
		_, err := e.client.AppsV1().Deployments(e.ns).Apply(e.ctx, d, applyAs(manager))
		if !apierrors.IsInvalid(err) {
			e.Errorf("%s: got %v, want invalid", tc.name, err)
			continue
		}
		e.wantContains(tc.name, err.Error(), "is invalid: ", tc.want)
	}
}

func unknownNamespace(e *env) {
	d := e.app("shop:1", 1).WithNamespace("nowhere-" + e.ns)
	_, err := e.client.AppsV1().Deployments("nowhere-"+e.ns).Apply(e.ctx, d, applyAs(manager))
	if !apierrors.IsNotFound(err) {
		e.Fatalf("got %v, want not found", err)
	}
	e.wantContains("the refusal", err.Error(), `namespaces "nowhere-`+e.ns+`" not found`)
}

func createTwice(e *env) {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
	if _, err := e.client.CoreV1().ConfigMaps(e.ns).Create(e.ctx, cm, metav1.CreateOptions{}); err != nil {
		e.Fatalf("create: %v", err)
	}
	_, err := e.client.CoreV1().ConfigMaps(e.ns).Create(e.ctx, cm, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		e.Fatalf("got %v, want already exists", err)
	}
	e.wantContains("the refusal", err.Error(), `configmaps "settings" already exists`)
}

func selectedLists(e *env) {
	for name, labels := range map[string]map[string]string{
		"one": {"suite": "yes", "track": "stable"}, "two": {"suite": "yes", "track": "canary"}, "three": {"suite": "no"},
	} {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		if _, err := e.client.CoreV1().ConfigMaps(e.ns).Create(e.ctx, cm, metav1.CreateOptions{}); err != nil {
			e.Fatalf("create: %v", err)
		}
	}
	cases := []struct {
		options metav1.ListOptions
		want    []string
	}{
		{metav1.ListOptions{LabelSelector: "suite=yes"}, []string{"one", "two"}},
		{metav1.ListOptions{LabelSelector: "suite=yes,track in (canary,baseline)"}, []string{"two"}},
		{metav1.ListOptions{LabelSelector: "suite,!track"}, []string{"three"}},
		{metav1.ListOptions{FieldSelector: "metadata.name=two"}, []string{"two"}},
		{metav1.ListOptions{LabelSelector: "suite=yes", FieldSelector: "metadata.name!=two"}, []string{"one"}},
	}
	for _, tc := range cases {
		list, err := e.client.CoreV1().ConfigMaps(e.ns).List(e.ctx, tc.options)
		if err != nil {
			e.Errorf("list %+v: %v", tc.options, err)
			continue
		}
		var got []string
		for _, cm := range list.Items {
			got = append(got, cm.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			e.Errorf("list %+v gave %v, want %v", tc.options, got, tc.want)
		}
		if list.ResourceVersion == "" {
			e.Error("the list has no resource version")
		}
	}
	if _, err := e.client.CoreV1().ConfigMaps(e.ns).List(e.ctx, metav1.ListOptions{LabelSelector: "a in ("}); !apierrors.IsBadRequest(err) {
		e.Errorf("a broken selector: got %v, want bad request", err)
	}
}

func missingObject(e *env) {
	_, err := e.client.AppsV1().Deployments(e.ns).Get(e.ctx, "nothing", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		e.Fatalf("get: %v, want not found", err)
	}
	e.wantContains("the refusal", err.Error(), `deployments.apps "nothing" not found`)
	if err := e.client.AppsV1().Deployments(e.ns).Delete(e.ctx, "nothing", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		e.Errorf("delete: %v, want not found", err)
	}
	_, err = e.client.AppsV1().Deployments(e.ns).Patch(e.ctx, "nothing", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
	if !apierrors.IsNotFound(err) {
		e.Errorf("patch: %v, want not found", err)
	}
}

func patches(e *env) {
	e.apply(e.app("shop:1", 0))
	client := e.client.AppsV1().Deployments(e.ns)
	cases := []struct {
		kind types.PatchType
		body string
		is   func(*appsv1.Deployment) bool
	}{
		{types.MergePatchType, `{"metadata":{"annotations":{"note":"merged"}}}`, func(d *appsv1.Deployment) bool { return d.Annotations["note"] == "merged" }},
		{types.MergePatchType, `{"metadata":{"annotations":{"note":null}}}`, func(d *appsv1.Deployment) bool { _, ok := d.Annotations["note"]; return !ok }},
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"shop:2"}]}}}}`, func(d *appsv1.Deployment) bool {
			c := d.Spec.Template.Spec.Containers
			return len(c) == 1 && c[0].Image == "shop:2" && len(c[0].Ports) == 1
		}},
		{types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"shop:3"}]`, func(d *appsv1.Deployment) bool {
			return d.Spec.Template.Spec.Containers[0].Image == "shop:3"
		}},
	}
	for _, tc := range cases {
		d, err := client.Patch(e.ctx, "app", tc.kind, []byte(tc.body), metav1.PatchOptions{})
		if err != nil {
			e.Errorf("%s %s: %v", tc.kind, tc.body, err)
			continue
		}
		if !tc.is(d) {
			e.Errorf("%s %s gave %+v", tc.kind, tc.body, d.Spec.Template.Spec)
		}
	}
	_, err := client.Patch(e.ctx, "app", types.JSONPatchType, []byte(`[{"op":"test","path":"/spec/replicas","value":7}]`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) {
		e.Errorf("a failed test of a json patch: got %v, want invalid", err)
	}
	_, err = client.Patch(e.ctx, "app", types.MergePatchType, []byte(`{"metadata":{"resourceVersion":"1"}}`), metav1.PatchOptions{})
	if !apierrors.IsConflict(err) {
		e.Errorf("a merge patch with an old resource version: got %v, want a conflict", err)
	}
}

func strictFields(e *env) {
	body := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"},"dta":{"a":"b"}}`)
	post := func(mode string) error {
		return e.client.CoreV1().RESTClient().Post().Namespace(e.ns).Resource("configmaps").
			Param("fieldValidation", mode).SetHeader("Content-Type", "application/json").Body(body).Do(e.ctx).Error()
	}
	err := post("Strict")
	if !apierrors.IsBadRequest(err) {
		e.Fatalf("strict: got %v, want bad request", err)
	}
	e.wantContains("the refusal", err.Error(), `strict decoding error: unknown field "dta"`)
	if err := post("Ignore"); err != nil {
		e.Errorf("ignore: %v", err)
	}
}
