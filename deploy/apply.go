package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// apply renders the manifests at the commit and applies them. The cluster is asked first whether it would take all of
// them, so that most mistakes are found before anything is changed. The traffic stays where it is if the release is
// blue-green, or follows one that is.
func (e *Executor) apply(ctx context.Context, t *pipeline.Task, a pipeline.Apply) (pipeline.Event, error) {
	w := &application{release: pipeline.Release{ID: a.ReleaseID, Delivery: t.Delivery.ID, SHA: t.Delivery.SHA, Ref: t.Plan.Commit.Ref, Title: title(t)}}
	adopted, err := e.applyAll(ctx, t, a, w)
	if err != nil {
		if w.recorded != nil {
			_ = w.recorded() // nothing outlives its effect; what went wrong first is what counts
		}
		return nil, w.failure(ctx, t, err)
	}
	e.Logger.InfoContext(ctx, "applied a release", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", w.where.Name, "namespace", w.where.Namespace, "release", w.release.ID, "objects", w.release.Objects)
	return pipeline.Applied{Stage: a.Stage, Attempt: a.Attempt, Release: w.release, Adopted: adopted, Alone: w.alone}, nil
}

// applyAll also tells what the release takes over from, "" if from nothing, or from a release.
func (e *Executor) applyAll(ctx context.Context, t *pipeline.Task, a pipeline.Apply, w *application) (adopted string, err error) {
	arr, err := e.prepare(ctx, t, a, w)
	if err != nil {
		return "", err
	}
	s, err := e.look(ctx, w.where, arr, w.release.Traffic, true)
	if err != nil {
		return "", err
	}
	trial, err := s.trial(ctx)
	if err != nil {
		return "", err
	}
	if err := w.where.Cluster.Check(ctx, trial); err != nil {
		return "", err
	}
	if err := w.recorded(); err != nil {
		return "", err
	}
	if w.applied, err = s.bringUp(ctx, false); err != nil {
		return "", err
	}
	w.alone = e.alone(ctx, t, a, w, s)
	return s.adopts(), nil
}

// record keeps the release's set while the cluster is being asked.
func (e *Executor) record(ctx context.Context, w *application, data []byte) {
	type kept struct {
		ref string
		err error
	}
	done := make(chan kept, 1)
	go func() {
		ref, err := e.Blobs.PutBlob(ctx, data)
		done <- kept{ref, err}
	}()
	w.recorded = sync.OnceValue(func() error {
		k := <-done
		if k.err != nil {
			return fmt.Errorf("record the manifests of release %s: %w", w.release.ID, k.err)
		}
		w.release.Manifests = k.ref
		return nil
	})
}

// application is one try to apply a release.
type application struct {
	release pipeline.Release
	where   place
	objects []manifest.Object // nil until they are known
	applied int
	alone   bool // Retire will have nothing to do
	// recorded waits until the release's set is kept. Nothing is changed before.
	recorded func() error
}

// failure says whether the release has changed nothing, which spares the environment a rollback.
func (w *application) failure(ctx context.Context, t *pipeline.Task, err error) error {
	failure, ok := pipeline.AsFailure(err)
	if !ok {
		return err
	}
	said := *failure
	switch {
	case w.applied > 0 || said.Unknown:
	case t.Attempt <= 1 && !t.Unknown:
		said.Unchanged = true
	case w.objects != nil && said.Permanent: // an earlier try may have changed something: look
		changed, err := carry(ctx, w.where.Cluster, w.objects, w.release.ID)
		said.Unchanged = err == nil && !changed
	}
	return &said
}

// carry tells whether any of the objects exists and was last applied for the release.
func carry(ctx context.Context, cluster Cluster, objects []manifest.Object, release string) (bool, error) {
	for _, o := range objects {
		live, err := cluster.Get(ctx, o)
		if err != nil {
			return false, err
		}
		if live != nil && live.GetAnnotations()[AnnotationRelease] == release {
			return true, nil
		}
	}
	return false, nil
}

// prepare finds out what is to be applied where, and begins to record it.
func (e *Executor) prepare(ctx context.Context, t *pipeline.Task, a pipeline.Apply, w *application) (arrangement, error) {
	stage, err := definition(t, a.Stage)
	if err != nil {
		return arrangement{}, err
	}
	d := stage.Deploy
	if d == nil {
		return arrangement{}, refusal(pipeline.ReasonOther, "stage "+a.Stage+" deploys nothing", nil)
	}
	if w.where, err = e.place(ctx, t, d.Environment, w.release); err != nil {
		return arrangement{}, err
	}
	set, err := e.render(ctx, t, *d)
	if err != nil {
		return arrangement{}, err
	}
	if err := w.where.within(set); err != nil {
		return arrangement{}, err
	}
	if err := w.where.fenced(set); err != nil {
		return arrangement{}, err
	}
	pinTested(set, a.Images)
	if err := e.pin(ctx, set); err != nil {
		return arrangement{}, err
	}
	data, err := set.Encode()
	if err != nil {
		return arrangement{}, err
	}
	r := &w.release
	r.Strategy, r.Prune, r.KeepFailed = d.Strategy, d.Prune, d.KeepFailed
	if d.Strategy == pipeline.StrategyBlueGreen {
		r.Version, r.Traffic, r.Apart = versionOf(r.SHA, data), d.Traffic, true
	}
	arr, err := w.where.arrange(set, *r)
	if err != nil {
		return arrangement{}, err
	}
	e.record(ctx, w, data)
	r.Objects, r.Replicas, r.Images = len(set.Objects), set.Replicas(), imagesOf(set)
	w.objects = arr.set().Objects
	return arr, nil
}

// arrange is what a release's set becomes here, with the owner's marks.
func (p place) arrange(set manifest.Set, r pipeline.Release) (arrangement, error) {
	return arrange(stamp(set.Objects, p.owner, p.Namespace), r)
}

// arrangement reads what a recorded release is here.
func (e *Executor) arrangement(ctx context.Context, where place, r pipeline.Release) (arrangement, error) {
	set, err := e.recorded(ctx, r)
	if err != nil {
		return arrangement{}, err
	}
	// A definition stays as it is: an older one may not fit what is stored by now.
	set.Objects = slices.DeleteFunc(set.Objects, manifest.Object.DefinesKind)
	if err := where.within(set); err != nil {
		return arrangement{}, err
	}
	return where.arrange(set, r)
}

func title(t *pipeline.Task) string {
	if t.Delivery.MergeRequest.Title != "" {
		return t.Delivery.MergeRequest.Title
	}
	return t.Plan.Commit.Title
}

func imagesOf(set manifest.Set) []pipeline.Image {
	var images []pipeline.Image
	for _, name := range set.Images() {
		images = append(images, pipeline.Image{Name: name, Digest: manifest.ImageDigest(name)})
	}
	return images
}

// render makes the stage's objects at the delivery's commit.
func (e *Executor) render(ctx context.Context, t *pipeline.Task, d pipeline.Deploy) (manifest.Set, error) {
	source := sourceOf(t.Plan, d)
	files, err := e.files(ctx, t, source)
	if err != nil {
		return manifest.Set{}, err
	}
	return rendered(ctx, files, source, d, e.Limits)
}

// rendered makes the objects of a deploy from files that are all there.
func rendered(ctx context.Context, files fs.FS, source manifest.Source, d pipeline.Deploy, limits manifest.Limits) (manifest.Set, error) {
	set, err := manifest.Render(ctx, files, source, limits)
	if err != nil {
		return manifest.Set{}, mistaken(err)
	}
	if d.ProgressDeadline > 0 {
		for _, o := range set.Objects {
			if isKind(o, "Deployment") {
				seconds := int64((d.ProgressDeadline + time.Second - 1) / time.Second)
				if err := unstructured.SetNestedField(o.Object, seconds, "spec", "progressDeadlineSeconds"); err != nil {
					return manifest.Set{}, refusal(pipeline.ReasonManifest, o.Title()+" has no spec", err)
				}
			}
		}
	}
	return set, nil
}

// sourceOf is what a deploy renders. Whether definitions of custom resources are allowed is the place's to say.
func sourceOf(plan *pipeline.Plan, d pipeline.Deploy) manifest.Source {
	source := manifest.Source{
		Path: d.Manifests, Images: d.Images, Hosts: d.Hosts, Review: plan.Environments[d.Environment].Slug, CRDs: true,
		Application: plan.Application, Namespace: plan.Environments[d.Environment].Namespace,
	}
	if d.Helm != nil {
		source.Helm = &manifest.Helm{Values: d.Helm.Values, Set: d.Helm.Set, Release: d.Helm.Release}
	}
	return source
}

// files fetches what the source needs: its path, what kustomizations refer to, and values of a chart.
func (e *Executor) files(ctx context.Context, t *pipeline.Task, source manifest.Source) (fs.FS, error) {
	var all layers
	var fetched []string
	wanted := []string{source.Path}
	const rounds = 10
	for range rounds {
		for _, folder := range wanted {
			more, err := e.Source.Files(ctx, t.Delivery.Project, t.Delivery.SHA, folder)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s is not in the repository at commit %s", folder, pipeline.Short(t.Delivery.SHA)), err)
			}
			if err != nil {
				return nil, fmt.Errorf("fetch %s at commit %s: %w", folder, pipeline.Short(t.Delivery.SHA), err)
			}
			all, fetched = append(all, more), append(fetched, folder)
		}
		missing, err := manifest.Missing(all, source, e.Limits)
		if err != nil {
			return nil, mistaken(err)
		}
		wanted = slices.DeleteFunc(missing, func(folder string) bool { return slices.Contains(fetched, folder) })
		if len(wanted) == 0 {
			return all, nil
		}
	}
	return nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s: its kustomizations refer to each other more than %d folders deep", source.Path, rounds), nil)
}

// mistaken makes a failure of a mistake in the repository, and leaves other errors to another try.
func mistaken(err error) error {
	var mistake *manifest.Error
	if errors.As(err, &mistake) {
		return refusal(pipeline.ReasonManifest, mistake.Error(), nil)
	}
	return err
}

func isKind(o manifest.Object, kinds ...string) bool {
	return o.GroupVersionKind().Group == "apps" && slices.Contains(kinds, o.GetKind())
}

// layers is several file trees seen as one. Earlier ones win.
type layers []fs.FS

// Open finds the file in the first tree that has it.
func (l layers) Open(name string) (fs.File, error) {
	err := error(&fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist})
	for _, tree := range l {
		var f fs.File
		if f, err = tree.Open(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, err
}

// ReadDir joins what the trees have in a folder.
func (l layers) ReadDir(name string) ([]fs.DirEntry, error) {
	var entries []fs.DirEntry
	found := false
	for _, tree := range l {
		more, err := fs.ReadDir(tree, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		for _, e := range more {
			if !slices.ContainsFunc(entries, func(have fs.DirEntry) bool { return have.Name() == e.Name() }) {
				entries = append(entries, e)
			}
		}
	}
	if !found {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}
